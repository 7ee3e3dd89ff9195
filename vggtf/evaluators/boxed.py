"""What measures nets that find where the object is: which images count, and what is right."""

from __future__ import annotations

import abc
import functools
from typing import Any

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, metrics
from vggtf.data import boxes, evaluation_feed, pipeline, shards
from vggtf.evaluators import classification


class Boxed(abc.ABC):
  """Measures answers on the images of a split that have a box of their class.

  A subclass says what `wrong` is of a batch.

  Attributes:
    truth: by id of an image, the boxes of its class, float64 [k, 4], xmin, ymin, xmax, ymax as
      fractions; and height and width of the stored picture.
  """

  remark = ""

  def __init__(
    self,
    model: contracts.Model,
    data_dir: str,
    predictor: Any,
    metric: str,
    split: str,
    batch_size: int,
    max_missing: int,
  ):
    """Looks for boxes in the split.

    Args:
      model: the net.
      data_dir: a converted data set.
      predictor: prepares pictures, and is told of in the results; see contracts.Predictor.
      metric: the error's name.
      split: on which images.
      batch_size: images a batch, at most; of larger ones than the net's, as many pixels.
      max_missing: how many images may have no box of their class; they are left out.

    Raises:
      UsageError: the split is not there or empty, or its pictures were resized by another rule.
      RejectedInputError: more images have no box.
      IntegrityError: a record is damaged.
    """
    records = shards.Shards(data_dir, split)
    if not records.count:
      raise errors.UsageError(f"the split {split!r} of {data_dir} has no images to measure on")
    classification.check_rule(records)
    self.predictor, self.protocol = predictor, predictor.describe()
    self.split, self.manifest = split, records.manifest
    self.labels = records.manifest.labels
    self.truth: dict[bytes, tuple[np.ndarray, int, int]] = {}
    self._boxed = np.zeros(records.count, bool)  # by number
    for number in boxes.search(records):
      record = records.read(number, records.sufficient_scale(predictor.scale))
      if len(found := boxes.of_class(record)):
        self.truth[record.id.encode()] = found, record.height, record.width
        self._boxed[number] = True
    missing = records.count - len(self.truth)
    if missing > max_missing or not self.truth:
      raise errors.RejectedInputError(
        f"{boxes.say_found(records, len(self.truth))}, {missing:,} have none and "
        f"{type(self).__name__}.max_missing = {max_missing} allows for no more; {boxes.CURE}"
      )
    self._metric = metric
    self._feed = evaluation_feed.EvaluationFeed(records, predictor, batch_size, model.input_size)
    self._batches = functools.cache(self._feed.batches)
    self.batch_spec = self._feed.batches(0, records.count).element_spec  # that of all shares

  @abc.abstractmethod
  def wrong(self, batch: contracts.Batch, counts: np.ndarray) -> np.ndarray:
    """Returns float32 [N]: 0 for images whose answer is right, else 1.

    Args:
      batch: some images.
      counts: bool [N], which of them have a box; the others may be anything.

    Raises:
      DivergedError: an answer is not finite; the images are named.
    """

  def __call__(self, worker: int = 0, workers: int = 1) -> dict[str, metrics.Mean]:
    """Returns the error as (sum, weight): the fraction of images.

    Args:
      worker: of several processes that share the images; see `EvaluationFeed.batches`.
      workers: how many they are.

    Raises:
      DivergedError: an answer is not finite; the images are named.
      IntegrityError: an image cannot be read, or not all were counted.
    """
    mean = metrics.Mean()
    with pipeline.named_failures(self._feed):
      for batch in self._batches(worker, workers):
        known = [id_ in self.truth for id_ in batch.id.numpy()]
        counts = np.array(known) & (batch.weight.numpy() > 0)
        mean = mean.add(self.wrong(batch, counts), counts.astype(np.float32))
    share = self._boxed[worker::workers].sum()
    if mean.weight != share:
      raise errors.IntegrityError(
        f"{mean.weight:.0f} images were evaluated, {share} have a box of their class"
      )
    return {self._metric: mean}

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


def check_finite(answers: np.ndarray, ids: np.ndarray) -> None:
  """Raises DivergedError where one of [N, ...] answers is not finite, and names the images."""
  bad = ids[~np.isfinite(answers.reshape(len(ids), -1)).all(axis=1)]
  if len(bad):
    names = ", ".join(id_.decode() for id_ in bad[:5])
    raise errors.DivergedError(f"boxes of {len(bad)} images are not finite: {names}")


def misses_all(box: np.ndarray, truth: np.ndarray) -> float:
  """Returns 0 where a box, [4], is right for one of the truth, float64 [k, 4]; else 1."""
  answers = np.tile(box.astype(np.float64), (len(truth), 1))
  return float(tf.reduce_min(boxes.misses(answers, truth)))
