"""Error rates as (sum, weight), so that padding never counts and partial results add up exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf


class Mean(NamedTuple):
  """A weighted mean in the making: Python floats, exact for counts up to 2^53."""

  total: float = 0.0
  weight: float = 0.0

  def add(self, values, weights) -> Mean:
    """Returns this mean with `values` [N] of weight `weights` [N] taken in."""
    return Mean(
      self.total + float(tf.reduce_sum(values * weights)),
      self.weight + float(tf.reduce_sum(weights)),
    )

  @property
  def value(self) -> float:
    return self.total / self.weight if self.weight else math.nan


def combine(shares: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Mean]:
  """Returns the means over all shares of some images, from (total, weight) by name of each."""
  return {
    name: Mean(*map(sum, zip(*(share[name] for share in shares), strict=True)))
    for name in shares[0]
  }


def top_k_errors(scores: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
  """Returns float32 [N]: 1 where the label is not among the k highest scores, else 0.

  Of equal scores the lower class comes first, so a net that answers the same for every class is
  right for k classes and not for all of them (`tf.math.in_top_k` counts ties as hits).

  Args:
    scores: float [N, classes]; logits or posteriors.
    labels: int32 [N].
    k: how many guesses are allowed; more than there are classes means all of them.
  """
  guesses = tf.math.top_k(scores, min(k, scores.shape[-1])).indices
  hit = tf.reduce_any(tf.equal(guesses, labels[:, tf.newaxis]), axis=1)
  return 1.0 - tf.cast(hit, tf.float32)
