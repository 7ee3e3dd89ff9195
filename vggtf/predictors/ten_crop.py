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
    scale: smallest side in pixels, the side of the square; None for that which follows from S
      (scales.choose).
  """

  name = "ten_crop"
  fixed_size = True

  def __init__(self, model: contracts.Model, scale: int | None = None):
    super().__init__()
    self.model, self.scale = model, scales_.choose("TenCrop.scale", scale, model)

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
    crops = tf.stack([views[:, y : y + side, x : x + side] for y, x in corners])
    crops = tf.concat([crops, images.flip(crops)], axis=0)
    # One of the ten at a time: a batch of images is as large as the net can take.
    posteriors = tf.map_fn(
      lambda batch: tf.nn.softmax(self.model(batch).logits),
      crops,
      parallel_iterations=1,
      fn_output_signature=tf.TensorSpec([None, self.model.classes], tf.float32),
    )
    return tf.reduce_mean(posteriors, axis=0)

  def describe(self, scales: Sequence[int] = ()) -> str:
    return f"ten crops {self.model.input_size} of {scales_.spell(scales or self.scales)}"
