"""What all nets do alike: classify pictures of their own size, and slide over larger ones."""

import itertools
from collections.abc import Callable, Sequence

import tensorflow as tf

from vggtf import contracts, errors, precision


class Net(tf.Module):
  """A `contracts.Model` but for its layers: a subclass fills `layers`, and says how they follow.

  Attributes:
    classes: number of classes.
    compute_type: in which hidden layers compute, see vggtf/precision.py.
    input_size: side in pixels of the images that it classifies.
    layers: convolutions and fully-connected layers by name, in the order of the net.
    mean_rgb: float32 [3], not trained: what is subtracted from every pixel.
  """

  def __init__(
    self,
    name: str,
    classes: int,
    mean_rgb: Sequence[float],
    input_size: int,
    width: float,
    dropout: float,
    compute_dtype: str,
  ):
    """Takes what every net has; the subclasses' constructors say what each is.

    Raises:
      UsageError: an option has no such value.
    """
    super().__init__(name)
    _check(dropout=dropout, width=width, mean_rgb=mean_rgb)
    self.classes = classes
    self.input_size = input_size
    self.layers = {}
    self._width = width
    self._dropout = dropout
    self.compute_type = precision.compute_type(compute_dtype)
    self.mean_rgb = tf.Variable(mean_rgb, trainable=False, dtype=tf.float32, name="mean_rgb")

  def __call__(
    self, images: tf.Tensor, training: contracts.Training | None = None
  ) -> contracts.Outputs:
    """Classifies images of the native size.

    Args:
      images: uint8 or float [N, input_size, input_size, 3], RGB in 0..255.
      training: given in training; its seed draws the dropout masks, and batch norms add to its
        updates. Without it nothing is dropped.

    Returns:
      What the last layer computes; the features that it is given, float32 [N, D]; and in training
      the logits of auxiliary heads, where the net has some.

    Raises:
      UsageError: the images have another size.
    """
    native = (self.input_size, self.input_size, 3)
    if not images.shape[1:].is_compatible_with(native):
      raise errors.UsageError(
        f"images of shape {images.shape} given, [N, {self.input_size}, {self.input_size}, 3] "
        "expected: crop or rescale them, or ask for a score_map"
      )
    maps = self._prepare(tf.ensure_shape(images, (None, *native)))
    features, auxiliary = self._features(maps, training)
    field, last = self._last(features)
    outputs = contracts.Outputs(logits=None, auxiliary=auxiliary, features=_only_place(features))
    return outputs._replace(**{field: _only_place(last)})

  def score_map(self, images: tf.Tensor) -> tf.Tensor:
    """Slides the net over whole images: the paper's dense evaluation (section 3.2).

    Args:
      images: uint8 or float [N, H, W, 3], RGB in 0..255; H and W are at least `input_size`.

    Returns:
      float32 [N, h, w, classes] logits, or what else the last layer computes, not yet averaged over
      places.

    Raises:
      UsageError: the images are known to be too small.
    """
    if any(side is not None and side < self.input_size for side in images.shape[1:3]):
      raise errors.UsageError(
        f"images of {images.shape[1]}x{images.shape[2]} given, at least "
        f"{self.input_size}x{self.input_size} expected: rescale them"
      )
    features, _ = self._features(self._prepare(images), None)
    return self._last(features)[1]

  def _features(
    self, maps: tf.Tensor, training: contracts.Training | None
  ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
    """Returns float32 [N, h, w, D], the last layer's input, and the auxiliary heads' logits."""
    raise NotImplementedError

  def _last(self, features: tf.Tensor) -> tuple[str, tf.Tensor]:
    """Returns which of `Outputs` the last layer computes, and it, float32 [N, h, w, ...]."""
    raise NotImplementedError

  def _native_side(self, side_after: Callable[[int], int], reader: str) -> int:
    """Returns the side of a map at the native size, given that of any size, and who reads it."""
    side = side_after(self.input_size)
    if side < 1:
      least = next(size for size in itertools.count(1) if side_after(size) >= 1)
      raise errors.UsageError(
        f"input_size={self.input_size} leaves nothing for {reader}: take {least} or more"
      )
    return side

  def _prepare(self, images: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.cast(images, tf.float32) - self.mean_rgb, self.compute_type)

  def _widen(self, channels: int, groups: int = 1) -> int:
    """Returns the channels that the net's width leaves of the paper's, a multiple of `groups`."""
    return groups * max(1, round(channels * self._width / groups))


def _only_place(maps: tf.Tensor) -> tf.Tensor:
  """Returns [N, ...] of [N, 1, 1, ...]."""
  return tf.reshape(maps, (-1, *maps.shape[3:]))


def _check(dropout: float, width: float, mean_rgb: Sequence[float]) -> None:
  if not 0 <= dropout < 1:
    raise errors.UsageError(f"dropout={dropout} is not a probability in [0, 1)")
  if width <= 0:
    raise errors.UsageError(f"width={width} is not positive: 1.0 is the paper's width")
  if len(mean_rgb) != 3:
    raise errors.UsageError(f"mean_rgb={mean_rgb} has {len(mean_rgb)} numbers, R, G, B expected")
