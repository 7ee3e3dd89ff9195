"""The centre crop: one view an image, as most other systems are measured."""

import tensorflow as tf

from vggtf import contracts, errors, images


class Centre:
  """Rescales an image to smallest side `scale` and classifies its centre.

  Args:
    model: the net; its input_size is the side of the crop.
    scale: smallest side in pixels.
    flip: whether the posteriors are averaged with those of the mirrored crop.
  """

  name = "centre"
  fixed_size = True

  def __init__(self, model: contracts.Model, scale: int = 256, flip: bool = False):
    if scale < model.input_size:
      raise errors.UsageError(
        f"Centre.scale = {scale} is smaller than the net's input of {model.input_size} pixels"
      )
    self.scale = scale
    self._model, self._flip = model, flip

  def prepare(self, image: tf.Tensor) -> tf.Tensor:
    """Returns the uint8 [input_size, input_size, 3] centre of an image."""
    return images.crop_centre(images.rescale(image, self.scale), self._model.input_size)

  def __call__(self, views: tf.Tensor) -> tf.Tensor:
    """Returns float32 [N, classes] posteriors."""
    posteriors = tf.nn.softmax(self._model(views).logits)
    if self._flip:
      posteriors = (posteriors + tf.nn.softmax(self._model(images.flip(views)).logits)) / 2
    return posteriors

  def describe(self) -> str:
    flipped = ", flip" if self._flip else ""
    return f"centre {self._model.input_size} of {self.scale}{flipped}"
