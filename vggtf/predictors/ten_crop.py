"""Ten crops: the corners and the centre of a square, and their mirror images."""

from collections.abc import Sequence

import tensorflow as tf

from vggtf import contracts, images
from vggtf.predictors import scales as scales_


class TenCrop(tf.Module):
  """Krizhevsky's protocol (2012), which the paper's rivals are measured by.

  An image is rescaled to smallest side `scale`; of its central square the four corners and the
  centre are classified, and mirrored again. The ten posteriors are averaged.

  Args:
    model: the net; its input_size is the side of a crop.
    scale: smallest side in pixels, the side of the square.
  """

  name = "ten_crop"
  fixed_size = True

  def __init__(self, model: contracts.Model, scale: int = 256):
    super().__init__()
    self.model, self.scale = model, scales_.check("TenCrop.scale", scale, model)

  @property
  def scales(self) -> tuple[int, ...]:
    return (self.scale,)

  @property
  def sees(self) -> str:
    return f"square_{self.scale}"

  def prepare(self, image: images.Picture) -> tf.Tensor:
    """Returns the uint8 [scale, scale, 3] central square of an image."""
    return images.crop_centre(images.rescale(image, self.scale), self.scale)

  def __call__(self, views: tf.Tensor) -> tf.Tensor:
    """Returns float32 [N, classes] posteriors."""
    side = self.model.input_size
    end = self.scale - side
    corners = [(0, 0), (0, end), (end, 0), (end, end), (end // 2, end // 2)]
    crops = tf.concat([views[:, y : y + side, x : x + side] for y, x in corners], axis=0)
    crops = tf.concat([crops, images.flip(crops)], axis=0)
    posteriors = tf.nn.softmax(self.model(crops).logits)
    return tf.add_n(tf.split(posteriors, 10)) / 10

  def describe(self, scales: Sequence[int] = ()) -> str:
    return f"ten crops {self.model.input_size} of {scales_.spell(scales or self.scales)}"
