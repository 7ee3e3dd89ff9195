"""T1: what is not finite ends the run, and is kept apart."""

import math

import pytest
import tensorflow as tf

from tests.training import parts
from vggtf import contracts, errors
from vggtf.training import divergence


def progress(step, **scalars):
  return contracts.Progress(step, {"loss": 1.5, "weight_decay": 0.125, **scalars}, 320, 2.0)


def keep_all(*_):
  return "all is kept"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["loss", "weight_decay"])
def test_a_loss_or_weights_that_are_not_finite_end_the_run(name, value):
  kept = []
  stop = divergence.StopOnNonFinite(3, lambda *steps: kept.append(steps) or "all is kept")
  assert stop.every == 0
  with pytest.raises(errors.DivergedError, match=rf"the {name} is {value} by step 5; all is kept"):
    stop(progress(step=5, **{name: value}))
  stop(progress(step=10))
  with pytest.raises(errors.DivergedError, match=r"by step 12; all is kept\. Lower"):
    stop(progress(step=12, **{name: value}))
  assert kept == [(3, 5), (10, 12)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e25])
def test_one_value_of_any_variable_that_is_not_finite_is_enough(value):
  """Without weight decay, the loss of the next step would be the first to tell."""
  made = parts.build(average=0.5, norm="batch")
  stop = divergence.StopOnNonFinite(
    3, keep_all, model=made.net, optimizer=made.optimizer, averaging=made.averaging
  )
  stop(progress(step=4))
  variables = {
    "model/norms/conv1_1/moving_mean": made.net.norms["conv1_1"].moving_mean,
    "optimizer/velocities/0": made.optimizer.velocities[0],
    "averaging/averages/1": made.averaging.averages[1],
  }
  for name, variable in variables.items():
    before = tf.identity(variable)
    flat = tf.reshape(before, [-1])
    spoilt = tf.tensor_scatter_nd_update(flat, [[flat.shape[0] - 1]], [value])
    variable.assign(tf.reshape(spoilt, variable.shape))
    with pytest.raises(errors.DivergedError, match=f"^{name}: not finite, or too large by"):
      stop(progress(step=5))
    variable.assign(before)
  stop(progress(step=5))


def test_a_schedule_may_begin_with_an_error_that_is_not_finite():
  made = parts.build()
  made.net.best = tf.Variable(1, dtype=tf.int64)  # a number that cannot be infinite
  divergence.StopOnNonFinite(0, keep_all, model=made.net)(progress(step=1))
