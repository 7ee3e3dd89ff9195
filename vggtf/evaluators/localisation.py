"""The error of boxes that are found in the central crop: the first protocol of appendix A.2."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, images, schema
from vggtf.data import boxes
from vggtf.evaluators import boxed


class CentralBox:
  """The box that a net gives to the central crop; how it looks at a picture, and how it is told.

  Args:
    model: the net; its input_size is the side of the crop.
    scale: smallest side, in pixels, that pictures are rescaled to.

  Raises:
    UsageError: the crop does not fit.
  """

  name = "centre_box"
  fixed_size = True

  def __init__(self, model: contracts.Model, scale: int):
    if scale < model.input_size:
      raise errors.UsageError(
        f"Localisation.scale = {scale}: expected at least {model.input_size}, the net's input size"
      )
    self.model, self.scale = model, scale

  def prepare(self, image: tf.Tensor) -> tf.Tensor:
    """Returns the uint8 [input_size, input_size, 3] centre of a picture."""
    return images.crop_centre(images.rescale(image, self.scale), self.model.input_size)

  def place(self, corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns boxes in the frame of the crop, float64 [k, 4]; see `boxes.place`.

    Args:
      corners: float64 [k, 4], xmin, ymin, xmax, ymax as fractions of the picture.
      height: of the stored picture.
      width: the same.
    """
    shortest = min(height, width)
    size = [schema.scaled_side(one, shortest, self.scale) for one in (height, width)]
    size = np.tile(size, (len(corners), 1))
    side = self.model.input_size
    return boxes.place(corners, size, (size - side) // 2, side, np.zeros(len(corners), bool))

  def __call__(self, views: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns float32 [N, 4], the boxes of the labels' classes in the frames of the crops.

    Raises:
      UsageError: the net ends in no boxes.
    """
    found = self.model(views).boxes
    if found is None:
      raise errors.UsageError(
        "Localisation measures nets that end in boxes; train one with --gin_file=gin/with/boxes.gin"
      )
    return boxes.of_label(found, labels)

  def describe(self) -> str:
    return f"box of the true class, centre {self.model.input_size} of {self.scale}"


class Localisation(boxed.Boxed):
  """Measures the boxes of the images' true classes, given the central crop.

  One is right if its intersection over union with a box of that class is more than 1/2.

  Args:
    model: the net.
    data_dir: a converted data set.
    scale: smallest side, in pixels, of the pictures whose central crop is seen; the S of training.
    split: on which images.
    batch_size: images a batch.
    max_missing: how many images may have no box of their class; they are left out.
  """

  def __init__(
    self,
    model: contracts.Model,
    data_dir: str,
    scale: int = 256,
    split: str = "validation",
    batch_size: int = 64,
    max_missing: int = 0,
  ):
    predictor = CentralBox(model, scale)
    metric = "localisation_error"
    super().__init__(model, data_dir, predictor, metric, split, batch_size, max_missing)
    signature = [self.batch_spec.image, self.batch_spec.label]
    self._graph = tf.function(predictor.__call__, input_signature=signature)

  def wrong(self, batch: contracts.Batch, counts: np.ndarray) -> np.ndarray:
    """Returns float32 [N]; see `boxed.Boxed.wrong`."""
    ids = batch.id.numpy()
    predicted = self._graph(batch.image, batch.label).numpy()
    boxed.check_finite(predicted[counts], ids[counts])
    found = np.ones(len(ids), np.float32)
    for place in np.flatnonzero(counts):
      truth = self.predictor.place(*self.truth[ids[place]])
      found[place] = boxed.misses_all(predicted[place], truth)
    return found
