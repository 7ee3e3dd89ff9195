"""Averages of a net's weights over the steps, which often err less than the weights themselves."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterable, Iterator

import tensorflow as tf

from vggtf import errors

RAW, EMA = "raw", "ema"
# What a result's protocol says of the weights that were measured.
REMARK = {RAW: "", EMA: ", averaged weights"}


def check_choice(option: str, weights: str) -> None:
  """Raises UsageError unless `weights`, the value of this option, is "raw" or "ema"."""
  errors.choose(option, weights, REMARK)


class ExponentialMovingAverage(tf.Module):
  """a <- decay * a + (1 - decay) * w after every step (Polyak & Juditsky, 1992; Adam's section 7).

  All of a net's variables are averaged, statistics of norms too: those of the raw weights would not
  fit averaged ones.

  Attributes:
    averages: float32, one for each variable, in order; the variables' own first values at first.
  """

  def __init__(self, decay: float = 0.9999, warm_up: bool = False):
    """Takes the rule.

    Args:
      decay: in [0, 1); 0.9999 remembers about 10,000 steps.
      warm_up: whether update number t, from 0, has the decay min(decay, (1 + t) / (10 + t)), so
        that a short run forgets its first weights.

    Raises:
      UsageError: the decay is out of range.
    """
    super().__init__("averaging")
    if not 0 <= decay < 1:
      raise errors.UsageError(f"ExponentialMovingAverage.decay={decay} is not in [0, 1)")
    self._decay, self._warm_up = decay, warm_up

  def build(self, variables: Iterable[tf.Variable]) -> None:
    """Creates the averages, inside the strategy's scope."""
    # In a namespace, where neither a checkpoint nor `self.variables` finds the model's variables.
    self._targets = types.SimpleNamespace(variables=list(variables))
    with self.name_scope:
      self.averages = [
        tf.Variable(tf.identity(one), trainable=False, name=one.name.split(":")[0])
        for one in self._targets.variables
      ]

  def update(self, step: tf.Tensor) -> None:
    """Moves the averages of this replica towards its variables.

    Args:
      step: int64 scalar, the updates of the variables before this one.
    """
    share = tf.constant(1 - self._decay, tf.float32)
    if self._warm_up:  # 1 - (1 + t) / (10 + t), with all its digits
      share = tf.maximum(share, 9 / (10 + tf.cast(step, tf.float32)))
    for variable, average in zip(self._targets.variables, self.averages, strict=True):
      # The kernel takes a handle, which inside a replica is that replica's own.
      tf.raw_ops.AssignSubVariableOp(resource=average.handle, value=share * (average - variable))

  def assign(self) -> None:
    """Gives the variables their averages for good."""
    for variable, average in zip(self._targets.variables, self.averages, strict=True):
      variable.assign(average)

  @contextlib.contextmanager
  def in_place(self) -> Iterator[None]:
    """Puts the averages in the variables' place, on the host between steps, and back again."""
    self._swap()
    try:
      yield
    finally:
      self._swap()

  def _swap(self) -> None:
    for variable, average in zip(self._targets.variables, self.averages, strict=True):
      value = tf.identity(variable)
      variable.assign(average)
      average.assign(value)
