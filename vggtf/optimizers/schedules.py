"""Learning rates: constant, in drops (at given steps or when the error stops improving), in curves.

The paper starts at 1e-2 and divides by 10 when the validation accuracy stops improving, three times
in 370K steps (section 3.1); at which steps it does not say.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from vggtf import contracts, errors


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


class Polynomial(tf.Module):
  """final + (initial - final) * (1 - step / steps)^power; a `contracts.Schedule`.

  Caffe's "poly" where `final` is 0.
  """

  def __init__(self, initial: float, steps: int, power: float = 1.0, final: float = 0.0):
    """Takes the curve.

    Args:
      initial: rate of the first update.
      steps: updates until the rate is `final`; it stays there. Usually `train.run.steps`.
      power: 1 is a straight line.
      final: rate at the end.

    Raises:
      UsageError: there is no step, or the power is not positive.
    """
    super().__init__("polynomial")
    _check_steps("Polynomial", steps)
    if not power > 0:
      raise errors.UsageError(f"schedules.Polynomial.power={power}: expected a positive number")
    self._initial, self._steps, self._power, self._final = initial, steps, power, final

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the rate of the update number `step`, a float32 scalar."""
    return self._final + (self._initial - self._final) * _left(step, self._steps) ** self._power


class Cosine(tf.Module):
  """final + (initial - final) * (1 + cos(pi * step / steps)) / 2; a `contracts.Schedule`.

  One half wave, without restarts (Loshchilov & Hutter, 2017, equation 5).
  """

  def __init__(self, initial: float, steps: int, final: float = 0.0):
    """Takes the curve.

    Args:
      initial: rate of the first update.
      steps: updates until the rate is `final`; it stays there. Usually `train.run.steps`.
      final: rate at the end.

    Raises:
      UsageError: there is no step.
    """
    super().__init__("cosine")
    _check_steps("Cosine", steps)
    self._initial, self._steps, self._final = initial, steps, final

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the rate of the update number `step`, a float32 scalar."""
    # (1 + cos(pi - x)) / 2 = sin(x / 2)^2, which keeps its digits where the rate is small.
    share = tf.sin(math.pi / 2 * _left(step, self._steps)) ** 2
    return self._final + (self._initial - self._final) * share


class LinearWarmUp(tf.Module):
  """Another schedule's rate times (step + 1) / steps, until that is 1; a `contracts.Schedule`.

  Large batches need it (Goyal et al., 2017, section 2.2). The other schedule counts the same steps,
  those of the warm-up included.

  Attributes:
    schedule: the other.
    observe: its own, where it has one.
  """

  def __init__(self, schedule: Callable[[], contracts.Schedule], steps: int):
    """Takes the other schedule's constructor, and how many updates have a lower rate than its.

    Raises:
      UsageError: there is no step.
    """
    super().__init__("linear_warm_up")
    _check_steps("LinearWarmUp", steps)
    self._steps = steps
    self.schedule = schedule()
    if hasattr(self.schedule, "observe"):
      self.observe = self.schedule.observe

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the rate of the update number `step`, a float32 scalar."""
    return (1 - _left(step + 1, self._steps)) * self.schedule(step)


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


def _check_steps(name: str, steps: int) -> None:
  if steps < 1:
    raise errors.UsageError(f"schedules.{name}.steps={steps}: expected at least 1 step")


def _left(step: tf.Tensor, steps: int) -> tf.Tensor:
  """Returns the share of the steps that is still to come, a float32 scalar in [0, 1]."""
  return tf.cast(tf.maximum(steps - tf.cast(step, tf.int64), 0), tf.float32) / steps


def _rates(initial: float, factor: float, drops: int) -> tf.Tensor:
  """Returns the rates after 0, 1, ... drops, float32 [drops + 1]."""
  return tf.constant([initial * factor**drop for drop in range(drops + 1)], tf.float32)
