"""Dense evaluation (section 3.2): the net as a convolution over the whole, uncropped image."""

import tensorflow as tf

from vggtf import contracts, errors, images


class Dense:
  """Applies the fully-convolutional net to the whole image at smallest side `scale` (Q).

  The class-score map is averaged over space, then comes the softmax; the posteriors of the image
  and of its mirror image are averaged.

  Args:
    model: the net.
    scale: Q, pixels.
    flip: whether the mirror image counts too.
    average: "scores" takes the spatial mean before the softmax, as the paper's wording implies;
      "posteriors" after it.
  """

  name = "dense"
  fixed_size = False

  def __init__(
    self, model: contracts.Model, scale: int = 256, flip: bool = True, average: str = "scores"
  ):
    if scale < model.input_size:
      raise errors.UsageError(
        f"Dense.scale = {scale} is smaller than the net's input of {model.input_size} pixels"
      )
    self.scale = scale
    self._model, self._flip, self._average = model, flip, average
    self._mean = errors.choose("Dense.average", average, _AVERAGES)

  def prepare(self, image: tf.Tensor) -> tf.Tensor:
    """Returns the whole image, uint8 [h, w, 3], its smallest side `scale`."""
    return images.rescale(image, self.scale)

  def __call__(self, views: tf.Tensor) -> tf.Tensor:
    """Returns float32 [N, classes] posteriors of images of one size."""
    posteriors = self._posteriors(views)
    if self._flip:
      posteriors = (posteriors + self._posteriors(images.flip(views))) / 2
    return posteriors

  def describe(self) -> str:
    flipped = ", flip" if self._flip else ""
    return f"dense Q={self.scale}, mean of {self._average}{flipped}"

  def _posteriors(self, views: tf.Tensor) -> tf.Tensor:
    return self._mean(self._model.score_map(views))


_AVERAGES = {
  "scores": lambda scores: tf.nn.softmax(tf.reduce_mean(scores, [1, 2])),
  "posteriors": lambda scores: tf.reduce_mean(tf.nn.softmax(scores), [1, 2]),
}
