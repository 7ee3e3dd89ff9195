"""Top-1 and top-5 error of a predictor on a split, every image counted exactly once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts, errors, metrics
from vggtf.data import pipeline, shards

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 30


class Classification:
  """Measures one predictor on one split.

  Args:
    model: the net.
    data_dir: a converted data set.
    predictor: what is measured; called with the net.
    split: on which images.
    batch_size: images a batch, at most.
  """

  def __init__(
    self,
    model: contracts.Model,
    data_dir: str,
    predictor: Callable[[contracts.Model], contracts.Predictor],
    split: str = "validation",
    batch_size: int = 64,
  ):
    records = shards.Shards(data_dir, split)
    if not records.count:
      raise errors.UsageError(f"the split {split!r} of {data_dir} has no images to measure on")
    predictor = predictor(model)
    self.protocol = predictor.describe()
    self.labels = records.manifest.labels
    self._count = records.count
    self._feed = pipeline.EvaluationFeed(records, predictor, batch_size)
    self._batches = self._feed.batches()
    self._predict = tf.function(
      predictor.__call__, input_signature=[self._batches.element_spec.image]
    )

  def __call__(self) -> dict[str, metrics.Mean]:
    """Returns "top1_error" and "top5_error" as (sum, weight): fractions of the split's images.

    Raises:
      DivergedError: a posterior is not finite; the images are named.
      IntegrityError: an image cannot be read, or not all were counted.
    """
    means = {"top1_error": metrics.Mean(), "top5_error": metrics.Mean()}
    said = time.monotonic()
    with pipeline.named_failures(self._feed):
      for batch in self._batches:
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
          said = time.monotonic()
          done = means["top1_error"].weight
          _log.info("evaluated %d of %d images (%s)", done, self._count, self.protocol)
        posteriors = self._predict(batch.image)
        self._check_finite(posteriors, batch)
        for name, k in (("top1_error", 1), ("top5_error", 5)):
          wrong = metrics.top_k_errors(posteriors, batch.label, k)
          means[name] = means[name].add(wrong, batch.weight)
    counted = means["top1_error"].weight
    if counted != self._count:
      raise errors.IntegrityError(
        f"{counted:.0f} images were evaluated, the split has {self._count}"
      )
    return means

  def _check_finite(self, posteriors: tf.Tensor, batch: contracts.Batch) -> None:
    finite = tf.reduce_all(tf.math.is_finite(posteriors), axis=1)
    bad = tf.boolean_mask(batch.id, ~finite & (batch.weight > 0)).numpy()
    if len(bad):
      names = ", ".join(id_.decode() for id_ in bad[:5])
      raise errors.DivergedError(f"posteriors of {len(bad)} images are not finite: {names}")
