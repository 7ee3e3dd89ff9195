"""Learning rates: constant, dropped at given steps, or dropped when the error stops improving.

The paper starts at 1e-2 and divides by 10 when the validation accuracy stops improving, three times
in 370K steps (section 3.1); at which steps it does not say.
"""

import itertools
from collections.abc import Sequence

import tensorflow as tf

from vggtf import errors


class Constant(tf.Module):
  """The same rate at every step; a `contracts.Schedule`."""

  def __init__(self, rate: float):
    super().__init__("constant")
    self._rate = rate

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the rate, a float32 scalar."""
    del step
    return tf.constant(self._rate, tf.float32)


class Steps(tf.Module):
  """Drops at given steps; a `contracts.Schedule`."""

  def __init__(self, boundaries: Sequence[int], initial: float = 0.01, factor: float = 0.1):
    """Takes when and by how much the rate drops.

    Args:
      boundaries: increasing; the update with this number is the first at the lower rate.
      initial: rate before the first boundary.
      factor: what each boundary multiplies the rate by.

    Raises:
      UsageError: the boundaries do not increase.
    """
    super().__init__("steps")
    if any(left >= right for left, right in itertools.pairwise(boundaries)):
      raise errors.UsageError(f"boundaries={tuple(boundaries)} do not increase: sort them")
    self._boundaries = tuple(boundaries)
    self._rates = _rates(initial, factor, len(boundaries))

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the rate of the update number `step`, a float32 scalar."""
    boundaries = tf.constant(self._boundaries, tf.int64)
    passed = tf.cast(tf.cast(step, tf.int64) >= boundaries, tf.int64)
    return tf.gather(self._rates, tf.reduce_sum(passed))


class Plateau(tf.Module):
  """Drops when the validation error stops improving; a `contracts.Schedule`.

  Attributes:
    best: float32, the lowest error that counted as an improvement.
    bad: int64, observations since then or since the last drop.
    dropped: int64, drops so far.
  """

  def __init__(
    self,
    initial: float = 0.01,
    factor: float = 0.1,
    drops: int = 3,
    patience: int = 5,
    threshold: float = 0.001,
  ):
    """Takes when and by how much the rate drops.

    Args:
      initial: rate before the first drop; the paper's is 1e-2.
      factor: what each drop multiplies the rate by; the paper's is 1/10.
      drops: how many there are at most; the paper had 3. After them the rate stays.
      patience: observations in a row without improvement that bring a drop. Not in the paper.
      threshold: by how much an error must be below the best to improve on it, in its own unit
        (0.001 of a fraction is a tenth of a percent). Not in the paper.

    Raises:
      UsageError: `patience` is below 1.
    """
    super().__init__("plateau")
    if patience < 1:
      raise errors.UsageError(f"patience={patience}: expected 1 or more observations")
    self._drops = drops
    self._patience = patience
    self._threshold = threshold
    self._rates = _rates(initial, factor, drops)
    with self.name_scope:
      self.best = tf.Variable(float("inf"), trainable=False, name="best")
      self.bad = tf.Variable(0, trainable=False, dtype=tf.int64, name="bad")
      self.dropped = tf.Variable(0, trainable=False, dtype=tf.int64, name="dropped")

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the rate of the next update, a float32 scalar; what was observed decides alone."""
    del step
    return tf.gather(self._rates, self.dropped)

  def observe(self, error: float) -> None:
    """Takes a validation error into account, on the host, between steps.

    An error that is not a number is never an improvement.
    """
    if error < self.best.numpy() - self._threshold:
      self.best.assign(error)
      self.bad.assign(0)
      return
    self.bad.assign_add(1)
    if self.bad.numpy() >= self._patience and self.dropped.numpy() < self._drops:
      self.dropped.assign_add(1)
      self.bad.assign(0)


def _rates(initial: float, factor: float, drops: int) -> tf.Tensor:
  """Returns the rates after 0, 1, ... drops, float32 [drops + 1]."""
  return tf.constant([initial * factor**drop for drop in range(drops + 1)], tf.float32)
