"""The error of a net that finds where the object is, not what it is (appendix A.1, protocol 1)."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, images, metrics, schema
from vggtf.data import boxes, evaluation_feed, pipeline, shards
from vggtf.evaluators import classification


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


class Localisation:
  """Measures the boxes of the images' true classes on one split.

  One is right if its intersection over union with a box of that class is more than 1/2.

  Args:
    model: the net.
    data_dir: a converted data set.
    scale: smallest side, in pixels, of the pictures whose central crop is seen; the S of training.
    split: on which images.
    batch_size: images a batch.
    max_missing: how many images may have no box of their class; they are left out.
  """

  remark = ""

  def __init__(
    self,
    model: contracts.Model,
    data_dir: str,
    scale: int = 256,
    split: str = "validation",
    batch_size: int = 64,
    max_missing: int = 0,
  ):
    records = shards.Shards(data_dir, split)
    if not records.count:
      raise errors.UsageError(f"the split {split!r} of {data_dir} has no images to measure on")
    classification.check_rule(records)
    self.predictor = CentralBox(model, scale)
    self.protocol = self.predictor.describe()
    self.split, self.manifest = split, records.manifest
    self.labels = records.manifest.labels
    self._truth: dict[bytes, np.ndarray] = {}  # by id, in the frame of the crop
    self._boxed = np.zeros(records.count, bool)  # by number
    for number in boxes.search(records):
      record = records.read(number, records.sufficient_scale(scale))
      if len(found := boxes.of_class(record)):
        self._truth[record.id.encode()] = self.predictor.place(found, record.height, record.width)
        self._boxed[number] = True
    missing = records.count - len(self._truth)
    if missing > max_missing or not self._truth:
      raise errors.RejectedInputError(
        f"{boxes.say_found(records, len(self._truth))}, {missing:,} have none and "
        f"Localisation.max_missing = {max_missing} allows for no more; {boxes.CURE}"
      )
    self._feed = evaluation_feed.EvaluationFeed(records, self.predictor, batch_size)
    self._batches = functools.cache(self._feed.batches)
    spec = self._feed.batches(0, records.count).element_spec  # that of all shares
    self._graph = tf.function(self.predictor.__call__, input_signature=[spec.image, spec.label])

  def __call__(self, worker: int = 0, workers: int = 1) -> dict[str, metrics.Mean]:
    """Returns "localisation_error" as (sum, weight): the fraction of images.

    Args:
      worker: of several processes that share the images; see `EvaluationFeed.batches`.
      workers: how many they are.

    Raises:
      DivergedError: a box is not finite; the images are named.
      IntegrityError: an image cannot be read, or not all were counted.
    """
    mean = metrics.Mean()
    with pipeline.named_failures(self._feed):
      for batch in self._batches(worker, workers):
        wrong, counts = self._judge(batch)
        mean = mean.add(wrong, counts)
    share = self._boxed[worker::workers].sum()
    if mean.weight != share:
      raise errors.IntegrityError(
        f"{mean.weight:.0f} images were evaluated, {share} have a box of their class"
      )
    return {"localisation_error": mean}

  def measure(
    self, posteriors: bool = False, worker: int = 0, workers: int = 1
  ) -> list[contracts.Measured]:
    """Returns what a call does, for `worker` of `workers`; there are no posteriors to keep.

    Raises:
      DivergedError: as for a call.
      IntegrityError: as for a call.
    """
    del posteriors
    return [contracts.Measured(self.predictor, self(worker, workers), None)]

  def _judge(self, batch: contracts.Batch) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32 [N] twice: 1 for images whose box is wrong, and for those that count."""
    predicted = self._graph(batch.image, batch.label).numpy()
    ids = batch.id.numpy()
    counts = np.array([id_ in self._truth for id_ in ids]) & (batch.weight.numpy() > 0)
    bad = ids[counts & ~np.isfinite(predicted).all(axis=1)]
    if len(bad):
      names = ", ".join(id_.decode() for id_ in bad[:5])
      raise errors.DivergedError(f"boxes of {len(bad)} images are not finite: {names}")
    wrong = np.ones(len(ids), np.float32)
    for place in np.flatnonzero(counts):
      truth = self._truth[ids[place]]
      answers = np.tile(predicted[place].astype(np.float64), (len(truth), 1))
      wrong[place] = tf.reduce_min(boxes.misses(answers, truth))
    return wrong, counts.astype(np.float32)
