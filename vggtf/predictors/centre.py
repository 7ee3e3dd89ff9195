"""The centre crop: one view an image, as most other systems are measured."""

from collections.abc import Sequence

import tensorflow as tf

from vggtf import contracts, images
from vggtf.predictors import scales as scales_


class Centre(tf.Module):
  """Rescales an image to smallest side `scale` and classifies its centre.

  Args:
    model: the net; its input_size is the side of the crop.
    scale: smallest side in pixels; None for that which follows from S (scales.choose).
    flip: whether the posteriors are averaged with those of the mirrored crop.
  """

  name = "centre"
  fixed_size = True

  def __init__(self, model: contracts.Model, scale: int | None = None, flip: bool = False):
    super().__init__()
    self.model, self.scale = model, scales_.choose("Centre.scale", scale, model)
    self._flip = flip

  @property
  def scales(self) -> tuple[int, ...]:
    return (self.scale,)

  @property
  def sees(self) -> str:
    return f"centre_{self.model.input_size}_of_{self.scale}"

  def prepare(self, image: images.Picture) -> tf.Tensor:
    """Returns the uint8 [input_size, input_size, 3] centre of an image."""
    return images.crop_centre(images.rescale(image, self.scale), self.model.input_size)

  def __call__(self, views: tf.Tensor) -> tf.Tensor:
    """Returns float32 [N, classes] posteriors."""
    if not self._flip:
      return tf.nn.softmax(self.model(views).logits)
    both = tf.concat([views, images.flip(views)], axis=0)
    return tf.add_n(tf.split(tf.nn.softmax(self.model(both).logits), 2)) / 2

  def describe(self, scales: Sequence[int] = ()) -> str:
    flipped = ", flip" if self._flip else ""
    return f"centre {self.model.input_size} of {scales_.spell(scales or self.scales)}{flipped}"
