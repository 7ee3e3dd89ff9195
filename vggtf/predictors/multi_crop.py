"""Multi-crop evaluation (section 3.2): a regular grid of crops, each mirrored again."""

from collections.abc import Sequence

import tensorflow as tf

from vggtf import contracts, errors, images
from vggtf.predictors import scales as scales_


class MultiCrop(tf.Module):
  """Classifies `grid` x `grid` crops of an image at smallest side `scale` and their mirror images.

  The paper takes 5 x 5 x 2 = 50 crops a scale. The posteriors are averaged. The outermost crops
  touch the image's edges; in between, crop i begins at i * (side - crop) // (grid - 1).

  Args:
    model: the net; its input_size is the side of a crop.
    scale: Q, pixels; None for that which follows from S (scales.choose).
    grid: crops in a row and in a column, at least 2.
    flip: whether the mirrored crops count too.
  """

  name = "multi_crop"
  fixed_size = False

  def __init__(
    self, model: contracts.Model, scale: int | None = None, grid: int = 5, flip: bool = True
  ):
    super().__init__()
    if grid < 2:
      raise errors.UsageError(f"MultiCrop.grid = {grid}: expected 2 or more crops in a row")
    self.model, self.scale = model, scales_.choose("MultiCrop.scale", scale, model)
    self._grid, self._flip = grid, flip

  @property
  def scales(self) -> tuple[int, ...]:
    return (self.scale,)

  @property
  def sees(self) -> str:
    return f"whole_{self.scale}"

  def prepare(self, image: images.Picture) -> tf.Tensor:
    """Returns the whole image, uint8 [h, w, 3], its smallest side `scale`."""
    return images.rescale(image, self.scale)

  def __call__(self, views: tf.Tensor) -> tf.Tensor:
    """Returns float32 [N, classes] posteriors of images of one size."""
    # An image at a time: its crops are a batch already, and those of several would fill the memory.
    return tf.map_fn(
      self._classify,
      views,
      parallel_iterations=1,
      fn_output_signature=tf.TensorSpec([self.model.classes], tf.float32),
    )

  def describe(self, scales: Sequence[int] = ()) -> str:
    flipped = ", flip" if self._flip else ""
    spelt = scales_.spell(scales or self.scales)
    return f"multi-crop Q={spelt}, {self._grid}x{self._grid}{flipped}"

  def _classify(self, image: tf.Tensor) -> tf.Tensor:
    """Returns float32 [classes] of uint8 [h, w, 3]."""
    side = self.model.input_size
    free = tf.shape(image)[:2] - side
    rows, columns = tf.unstack(tf.range(self._grid) * free[:, tf.newaxis] // (self._grid - 1))
    places = [(row, column) for row in tf.unstack(rows) for column in tf.unstack(columns)]
    crops = tf.stack([image[y : y + side, x : x + side] for y, x in places])
    crops = tf.ensure_shape(crops, [len(places), side, side, 3])
    if self._flip:
      crops = tf.concat([crops, images.flip(crops)], axis=0)
    return tf.reduce_mean(tf.nn.softmax(self.model(crops).logits), axis=0)
