"""The parts of a training that have variables, built together in a strategy's scope."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.training import averaging as averages


class Parts(NamedTuple):
  """What `assemble` built; `step` counts the steps done, int64."""

  net: contracts.Model
  optimizer: contracts.Optimizer
  schedule: contracts.Schedule
  weight_decay: contracts.WeightDecay
  averaging: averages.ExponentialMovingAverage | None
  step: tf.Variable


def assemble(
  strategy: tf.distribute.Strategy,
  draw: Callable[[], contracts.Model],
  optimizer: Callable[[], contracts.Optimizer],
  schedule: Callable[[], contracts.Schedule],
  weight_decay: Callable[[], contracts.WeightDecay],
  averaging: Callable[[], averages.ExponentialMovingAverage] | None = None,
) -> Parts:
  """Builds the parts, each from its constructor.

  Args:
    strategy: in whose scope.
    draw: makes the net, with its first weights: slots and averages may begin as their copies.
    optimizer: the update rule.
    schedule: its learning rate.
    weight_decay: added to the gradients.
    averaging: of the weights; None keeps no averages.

  Raises:
    UsageError: both the penalty and the optimizer would decay the weights.
    EnvironmentFault: there is not enough memory for them.
  """
  try:
    with strategy.scope():
      net = draw()
      update, rate, decay = optimizer(), schedule(), weight_decay()
      update.build(net.trainable_variables)
      average = averaging and averaging()
      if average:
        average.build(net.variables)
      step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
  except tf.errors.ResourceExhaustedError as error:
    raise errors.EnvironmentFault(
      "out of memory for the net's weights and what its optimizer keeps of each; take a narrower "
      "net, or a device with more memory"
    ) from error
  if getattr(update, "decays_weights", False) and decay.value(net.trainable_variables) > 0:
    raise errors.UsageError(
      f"the optimizer {type(update).__name__} decays weights by itself, and "
      f"{type(decay).__name__} would once more: bind WEIGHT_DECAY = @weight_decay.Nothing"
    )
  return Parts(net, update, rate, decay, average, step)
