"""What is kept of a predictor's answers while a split goes by."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, metrics

TOP = 5  # the paper's two errors look at the first and at the first five classes
# Of a share without images: of id, label, classes and probabilities.
_NONE = (((0,), "S1"), ((0,), np.int32), ((0, TOP), np.int32), ((0, TOP), np.float32))


class Tally:
  """The answers of one predictor, batch after batch.

  Args:
    predictor: whose they are.
    posteriors: whether whole posteriors are kept: 4 bytes for each class of each image.
  """

  def __init__(self, predictor: contracts.Predictor, posteriors: bool = False):
    self._predictor, self._whole = predictor, posteriors
    self._means = {"top1_error": metrics.Mean(), "top5_error": metrics.Mean()}
    self._kept: list[tuple[np.ndarray, ...]] = []

  @property
  def count(self) -> float:
    """The images so far."""
    return self._means["top1_error"].weight

  def add(self, posteriors: tf.Tensor, batch: contracts.Batch) -> None:
    """Takes in the posteriors, float32 [N, classes], of a batch; padding counts nothing.

    Raises:
      DivergedError: one is not finite; the images are named.
    """
    _check_finite(posteriors, batch)
    for name, k in (("top1_error", 1), ("top5_error", TOP)):
      wrong = metrics.top_k_errors(posteriors, batch.label, k)
      self._means[name] = self._means[name].add(wrong, batch.weight)
    best = tf.math.top_k(posteriors, min(TOP, posteriors.shape[-1]))
    columns = (batch.id, batch.label, best.indices, best.values, *([posteriors] * self._whole))
    counts = batch.weight.numpy() > 0
    self._kept.append(tuple(column.numpy()[counts] for column in columns))

  def measured(self) -> contracts.Measured:
    """Returns all that was kept, the images sorted by id."""
    if not self._kept:
      none = contracts.Answers(*(np.empty(shape, kind) for shape, kind in _NONE))
      return contracts.Measured(self._predictor, self._means, none)
    columns = [np.concatenate(parts) for parts in zip(*self._kept, strict=True)]
    order = np.argsort(columns[0])
    answers = contracts.Answers(*(column[order] for column in columns))
    return contracts.Measured(self._predictor, self._means, answers)


def _check_finite(posteriors: tf.Tensor, batch: contracts.Batch) -> None:
  finite = tf.reduce_all(tf.math.is_finite(posteriors), axis=1)
  bad = tf.boolean_mask(batch.id, ~finite & (batch.weight > 0)).numpy()
  if len(bad):
    names = ", ".join(id_.decode() for id_ in bad[:5])
    raise errors.DivergedError(f"posteriors of {len(bad)} images are not finite: {names}")
