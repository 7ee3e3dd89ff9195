"""Dense evaluation (section 3.2): the net as a convolution over the whole, uncropped image."""

from collections.abc import Sequence

import tensorflow as tf

from vggtf import contracts, errors, images
from vggtf.predictors import scales as scales_


class Dense(tf.Module):
  """Applies the fully-convolutional net to the whole image at smallest side `scale` (Q).

  The class-score map is averaged over space, then comes the softmax; the posteriors of the image
  and of its mirror image are averaged.

  Args:
    model: the net.
    scale: Q, pixels; None for that which follows from S (scales.choose).
    flip: whether the mirror image counts too.
    average: "scores" takes the spatial mean before the softmax, as the paper's wording implies;
      "posteriors" after it.
  """

  name = "dense"
  fixed_size = False

  def __init__(
    self,
    model: contracts.Model,
    scale: int | None = None,
    flip: bool = True,
    average: str = "scores",
  ):
    super().__init__()
    self.model, self.scale = model, scales_.choose("Dense.scale", scale, model)
    self._flip, self._average = flip, average
    errors.choose("Dense.average", average, _AVERAGES)

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
    mean = _AVERAGES[self._average]
    if not self._flip:
      return mean(self.model.score_map(views))
    both = tf.concat([views, images.flip(views)], axis=0)
    return tf.add_n(tf.split(mean(self.model.score_map(both)), 2)) / 2

  def describe(self, scales: Sequence[int] = ()) -> str:
    flipped = ", flip" if self._flip else ""
    spelt = scales_.spell(scales or self.scales)
    return f"dense Q={spelt}, mean of {self._average}{flipped}"


_AVERAGES = {
  "scores": lambda scores: tf.nn.softmax(tf.reduce_mean(scores, [1, 2])),
  "posteriors": lambda scores: tf.reduce_mean(tf.nn.softmax(scores), [1, 2]),
}
