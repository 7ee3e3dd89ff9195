"""Boxes of objects: which one of an image is learnt, where it lies in a crop, how far two overlap.

What a net learns and answers is a box in the frame of the crop that it sees: centre x, centre y,
width and height, as fractions of the crop's side, from its top left corner (appendix A.1; what the
paper leaves open of it is in docs/fidelity.md). An object that reaches beyond the crop has a box
that does, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from vggtf import errors, schema
from vggtf.data import shards, train_view

_log = logging.getLogger(__name__)
SPEC = tf.TensorSpec([4], tf.float32)
CURE = (
  "convert the data again with boxes: data_tools.convert --source=imagenet takes the archives of "
  "boxes that lie beside those of the images, unless it is given --no_boxes; --source=voc has them"
)


def of_class(record: schema.Record) -> np.ndarray:
  """Returns the boxes of a record's own class, but for objects that are marked as difficult.

  Float64 [k, 4]: xmin, ymin, xmax, ymax as fractions of width and height; k may be 0.
  """
  found = [
    (box.xmin, box.ymin, box.xmax, box.ymax)
    for box in record.boxes
    if box.label == record.label and not box.difficult
  ]
  return np.array(found, np.float64).reshape(-1, 4)


def search(records: shards.Shards) -> range:
  """Returns the numbers of the records that may have boxes: of all, unless the manifest says none.

  Which have is in no index, so all must be read.
  """
  return range(records.count if records.manifest.inputs[records.split].boxed else 0)


class Largest:
  """The largest box of its own class of each image of a split that has one.

  One box is learnt of an image, and any of its class is right in the end: the largest is the one
  that random crops show most surely.

  Attributes:
    numbers: of the records that have one, ascending.
    boxes: float64 [count, 4] by the record's number: xmin, ymin, xmax, ymax as fractions; NaN where
      there is none.
  """

  def __init__(
    self,
    records: shards.Shards,
    scale: int,
    least: int,
    damaged: Callable[[tuple[int, int], errors.IntegrityError], None],
  ):
    """Looks through the split.

    Args:
      records: the split.
      scale: at which they are read.
      least: how many images must have a box.
      damaged: called with number and scale of a damaged record; it is left out unless this raises.

    Raises:
      RejectedInputError: fewer have.
    """
    _log.info("looking for boxes in %d images of the split %r", records.count, records.split)
    self.boxes = np.full((records.count, 4), np.nan)
    for number in search(records):
      try:
        found = of_class(records.read(number, scale))
      except errors.IntegrityError as error:
        damaged((number, scale), error)
        continue
      if len(found):
        areas = np.prod(found[:, 2:] - found[:, :2], axis=1)
        self.boxes[number] = found[np.argmax(areas)]
    self.numbers = np.flatnonzero(~np.isnan(self.boxes[:, 0])).tolist()
    if len(self.numbers) < least:
      raise errors.RejectedInputError(
        f"{say_found(records, len(self.numbers))}, expected at least {least}, a batch; {CURE}"
      )
    left_out = records.count - len(self.numbers)
    _log.info("%s; %d are left out", say_found(records, len(self.numbers)), left_out)


def say_found(records: shards.Shards, boxed: int) -> str:
  """Returns how many images of a split have a box, for people."""
  return (
    f"{boxed:,} of the {records.count:,} images of the split {records.split!r} have a box of their "
    "class"
  )


def place(
  corners: np.ndarray, size: np.ndarray, corner: np.ndarray, side: int, mirrored: np.ndarray
) -> np.ndarray:
  """Returns float64 [N, 4]: boxes in the frames of crops, as centre x and y, width and height.

  Args:
    corners: float64 [N, 4], xmin, ymin, xmax, ymax as fractions of the pictures.
    size: int [N, 2], height and width of the rescaled pictures, pixels.
    corner: int [N, 2], top and left of the crops in them, pixels; negative beyond the edge.
    side: of the crops, pixels.
    mirrored: bool [N], whether a crop is flipped from left to right.
  """
  points = corners.reshape(-1, 2, 2) * size[:, np.newaxis, ::-1] - corner[:, np.newaxis, ::-1]
  found = centred((points / side).reshape(-1, 4))
  found[:, 0] = np.where(mirrored, 1 - found[:, 0], found[:, 0])
  return found


def centred(corners: np.ndarray) -> np.ndarray:
  """Returns centre x and y, width and height for xmin, ymin, xmax, ymax; [N, 4] both."""
  first, last = corners[:, :2], corners[:, 2:]
  return np.concatenate([(first + last) / 2, last - first], axis=1)


def see(corners: np.ndarray, size: np.ndarray, view: train_view.View, side: int) -> np.ndarray:
  """Returns float64 [N, 4]: boxes in the frames of what training sees; see `place`.

  Args:
    corners: float64 [N, 4], xmin, ymin, xmax, ymax as fractions of the pictures.
    size: int64 [N, 2], height and width of the stored pictures.
    view: what `TrainView.choose` returned for these sizes.
    side: of the crops, pixels.
  """
  crop = view.crop
  start = np.rint(crop.window[:, :2] * crop.ratio - crop.offset)
  return place(corners, np.rint(size * crop.ratio), start + crop.beyond, side, view.mirrored)


def of_label(predicted: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """Returns float32 [N, 4], the boxes of the labels' classes.

  Args:
    predicted: floating [N, 4], one box for all classes, or [N, classes, 4].
    labels: int32 [N].
  """
  if predicted.shape.rank == 3:
    predicted = tf.gather(predicted, labels, axis=1, batch_dims=1)
  return tf.cast(predicted, tf.float32)


def overlap(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
  """Returns [N], intersection over union of pairs of boxes; 0 where one has no area.

  Args:
    one: floating [N, 4], centre x and y, width and height.
    other: the same, of the same type.
  """
  first, last = (
    choose(one[:, :2] + sign * one[:, 2:] / 2, other[:, :2] + sign * other[:, 2:] / 2)
    for choose, sign in ((tf.maximum, -1), (tf.minimum, 1))
  )
  shared = tf.reduce_prod(tf.maximum(last - first, 0), axis=1)
  areas = (tf.reduce_prod(tf.maximum(box[:, 2:], 0), axis=1) for box in (one, other))
  return tf.math.divide_no_nan(shared, sum(areas) - shared)


def misses(predicted: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
  """Returns float32 [N]: 0 where intersection over union is more than 1/2, else 1."""
  return tf.cast(overlap(predicted, truth) <= 0.5, tf.float32)
