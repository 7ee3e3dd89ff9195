"""The nets of the paper: A, A-LRN, B, C, D and E (section 2, table 1).

Layers carry Caffe's names, those of the authors' released models: conv1_1 ... conv5_4, fc6, fc7 and
fc8; their variables are called conv1_1/weights, conv1_1/biases and so on.
"""

from collections.abc import Sequence

import tensorflow as tf

from vggtf import contracts, errors, precision
from vggtf.nn import heads, initializers, layers, norms

LRN = "LRN"

# Table 1. A row is a net, an entry one of its five blocks, a number the side of a convolution's
# kernel. A max-pooling follows each block, and fc6, fc7 and fc8 the last.
CONFIGS = {
  "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
  "A-LRN": ((3, LRN), (3,), (3, 3), (3, 3), (3, 3)),
  "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
  "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
  "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
  "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
BLOCK_CHANNELS = (64, 128, 256, 512, 512)
HIDDEN_CHANNELS = 4096  # of fc6 and fc7

NORMS = {None: None, "batch": norms.Batch, "group": norms.Group}


class VGG(tf.Module):
  """A very deep convolutional net; a `contracts.Model`.

  Attributes:
    classes: number of classes.
    input_size: side in pixels of the images that it classifies.
    layers: convolutions and fully-connected layers by name, in the order of the net.
    norms: the norm that follows a convolution, by the convolution's name; empty without.
    mean_rgb: float32 [3], not trained: what is subtracted from every pixel.
  """

  def __init__(
    self,
    classes: int,
    mean_rgb: Sequence[float],
    config: str = "D",
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.5,
    norm: str | None = None,
    initializer: initializers.Initializer | None = None,
    lrn_form: str = "alexnet",
    pool_rounding: str = "floor",
    compute_dtype: str = "float32",
    seed: int = 0,
  ):
    """Builds the net and its variables.

    Args:
      classes: how many.
      mean_rgb: mean of the training set's pixels, in levels of 0..255 (section 2.1).
      config: a key of `CONFIGS`.
      input_size: side in pixels; the paper's is 224 (section 2.1).
      width: multiplies the channels of every hidden layer, the fully-connected ones included.
      dropout: probability, in [0, 1), that a unit of fc6 or fc7 is dropped (section 3.1).
      norm: "batch" or "group" puts that norm between each convolution and its ReLU, and leaves the
        fully-connected layers alone; the convolutions keep their biases, so that weights move
        between nets with and without norms by name. The paper has none.
      initializer: of all weights, Glorot's if None; biases start at 0 (section 3.1).
      lrn_form: "alexnet" or "caffe"; only A-LRN has such a layer.
      pool_rounding: "floor" or "ceil" (Caffe): what a pooling does with an odd side.
      compute_dtype: "float32" or "bfloat16", see vggtf/precision.py.
      seed: of the first weights.

    Raises:
      UsageError: an option has no such value, or five poolings leave nothing of the input.
    """
    super().__init__("vgg")
    _check(dropout=dropout, width=width, mean_rgb=mean_rgb)
    self.classes = classes
    self.input_size = input_size
    self._blocks = _name_layers(errors.choose("config", config, CONFIGS))
    self._dropout = dropout
    self._lrn = norms.LocalResponse(lrn_form)
    self._pool_rounding = pool_rounding
    self._compute_type = precision.compute_type(compute_dtype)
    self.mean_rgb = tf.Variable(mean_rgb, trainable=False, dtype=tf.float32, name="mean_rgb")
    self.layers = {}
    self.norms = {}
    make_norm = errors.choose("norm", norm, NORMS)

    initializer = initializer or initializers.Glorot()
    channels = 3
    for block, full_width in zip(self._blocks, BLOCK_CHANNELS, strict=True):
      outputs = _widen(full_width, width)
      for name, side in block:
        if side != LRN:
          self.layers[name] = layers.Convolution(name, side, channels, outputs, initializer, seed)
          if make_norm:
            self.norms[name] = make_norm(name.replace("conv", "norm"), outputs)
          channels = outputs
    hidden = _widen(HIDDEN_CHANNELS, width)
    for name, side, inputs, outputs in (
      ("fc6", _pooled_side(input_size, pool_rounding), channels, hidden),
      ("fc7", 1, hidden, hidden),
      ("fc8", 1, hidden, classes),
    ):
      self.layers[name] = heads.FullyConnected(name, side, inputs, outputs, initializer, seed)

  def __call__(
    self, images: tf.Tensor, training: contracts.Training | None = None
  ) -> contracts.Outputs:
    """Classifies images of the native size.

    Args:
      images: uint8 or float [N, input_size, input_size, 3], RGB in 0..255.
      training: given in training; its seed draws the dropout masks, and batch norms add to its
        updates. Without it nothing is dropped.

    Returns:
      Logits, float32 [N, classes].

    Raises:
      UsageError: the images have another size.
    """
    native = (self.input_size, self.input_size, 3)
    if not images.shape[1:].is_compatible_with(native):
      raise errors.UsageError(
        f"images of shape {images.shape} given, [N, {self.input_size}, {self.input_size}, 3] "
        "expected: crop or rescale them, or ask for a score_map"
      )
    scores = self._scores(tf.ensure_shape(images, (None, *native)), training)
    return contracts.Outputs(logits=tf.reshape(scores, (-1, self.classes)))

  def score_map(self, images: tf.Tensor) -> tf.Tensor:
    """Slides the net over whole images: the paper's dense evaluation (section 3.2).

    Args:
      images: uint8 or float [N, H, W, 3], RGB in 0..255; H and W are at least `input_size`.

    Returns:
      float32 [N, h, w, classes] logits, not yet averaged over places.

    Raises:
      UsageError: the images are known to be too small.
    """
    if any(side is not None and side < self.input_size for side in images.shape[1:3]):
      raise errors.UsageError(
        f"images of {images.shape[1]}x{images.shape[2]} given, at least "
        f"{self.input_size}x{self.input_size} expected: rescale them"
      )
    return self._scores(images, None)

  def _scores(self, images: tf.Tensor, training: contracts.Training | None) -> tf.Tensor:
    maps = tf.cast(tf.cast(images, tf.float32) - self.mean_rgb, self._compute_type)
    for block in self._blocks:
      for name, side in block:
        maps = self._lrn(maps) if side == LRN else self._convolve(name, maps, training)
      maps = layers.max_pool(maps, self._pool_rounding)
    for name in ("fc6", "fc7"):
      maps = tf.nn.relu(self.layers[name](maps))
      if training is not None:
        maps = layers.dropout(maps, self._dropout, name, training)
    return self.layers["fc8"](tf.cast(maps, tf.float32))

  def _convolve(self, name: str, maps: tf.Tensor, training: contracts.Training | None) -> tf.Tensor:
    maps = self.layers[name](maps)
    if name in self.norms:
      maps = self.norms[name](maps, training)
    return tf.nn.relu(maps)


def _name_layers(config: tuple) -> tuple:
  """Returns for each block its layers in order: pairs of a name and a kernel's side or LRN."""
  return tuple(
    tuple(
      (f"lrn{block}" if side == LRN else f"conv{block}_{index}", side)
      for index, side in enumerate(sides, 1)
    )
    for block, sides in enumerate(config, 1)
  )


def _widen(channels: int, width: float) -> int:
  return max(1, round(channels * width))


def _pooled_side(input_size: int, rounding: str) -> int:
  """Returns the side of the map that is left after the five poolings."""
  side = input_size
  for _ in BLOCK_CHANNELS:
    side = layers.pooled_side(side, rounding)
  if side < 1:
    least = 2 ** len(BLOCK_CHANNELS)
    raise errors.UsageError(
      f"input_size={input_size} leaves nothing after five poolings: take {least} or more"
    )
  return side


def _check(dropout: float, width: float, mean_rgb: Sequence[float]) -> None:
  if not 0 <= dropout < 1:
    raise errors.UsageError(f"dropout={dropout} is not a probability in [0, 1)")
  if width <= 0:
    raise errors.UsageError(f"width={width} is not positive: 1.0 is the paper's width")
  if len(mean_rgb) != 3:
    raise errors.UsageError(f"mean_rgb={mean_rgb} has {len(mean_rgb)} numbers, R, G, B expected")
