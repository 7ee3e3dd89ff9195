"""The average by hand in float64, in a step, and in the variables' place."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training import parts
from vggtf import errors
from vggtf.optimizers import schedules
from vggtf.training import averaging

WEIGHTS = np.random.default_rng(1).standard_normal((11, 2, 3))  # at first, and after ten steps


@pytest.mark.parametrize("warm_up", [False, True])
@pytest.mark.parametrize("form", ["eager", "function", "xla"])
def test_averages_by_hand(warm_up, form):
  variable = tf.Variable(WEIGHTS[0], dtype=tf.float32)
  average = averaging.ExponentialMovingAverage(0.3, warm_up)
  average.build([variable])
  update = average.update
  if form != "eager":
    update = tf.function(update, jit_compile=form == "xla")
  expected = WEIGHTS[0]
  for step, value in enumerate(WEIGHTS[1:]):
    variable.assign(value.astype(np.float32))
    update(tf.constant(step, tf.int64))
    decay = min(0.3, (1 + step) / (10 + step)) if warm_up else 0.3
    expected = decay * expected + (1 - decay) * value
    np.testing.assert_allclose(average.averages[0], expected, rtol=0, atol=1e-6)


def test_what_does_not_move_keeps_its_bits():
  variable = tf.Variable([123.68, 116.779])
  average = averaging.ExponentialMovingAverage(0.9999)
  average.build([variable])
  average.update(tf.constant(0, tf.int64))
  np.testing.assert_array_equal(average.averages[0], variable)


def test_a_long_memory_has_all_its_digits():
  variable = tf.Variable(0.0)
  average = averaging.ExponentialMovingAverage(0.99999)
  average.build([variable])
  variable.assign(1.0)
  average.update(tf.constant(0, tf.int64))
  assert average.averages[0].numpy() == pytest.approx(1e-5, rel=1e-6)


def test_averages_take_the_variables_place_and_leave_it_whatever_happens():
  variable = tf.Variable([1.0, 2.0])
  average = averaging.ExponentialMovingAverage(0.5)
  average.build([variable])
  variable.assign([3.0, 6.0])
  average.update(tf.constant(0, tf.int64))

  def fail():
    with average.in_place():
      np.testing.assert_array_equal(variable, [2.0, 4.0])
      raise RuntimeError

  with pytest.raises(RuntimeError):
    fail()
  np.testing.assert_array_equal(variable, [3.0, 6.0])
  np.testing.assert_array_equal(average.averages[0], [2.0, 4.0])


def test_a_checkpoint_holds_the_averages_and_nothing_else(tmp_path):
  variable = tf.Variable([1.0, 2.0], name="fc8/biases")
  average = averaging.ExponentialMovingAverage()
  average.build([variable])
  path = tf.train.Checkpoint(averaging=average).write(str(tmp_path / "state"))
  names = [name for name, _ in tf.train.list_variables(path) if name.startswith("averaging")]
  assert len(names) == 1


def test_steps_move_the_averages_after_weights_and_statistics():
  ours = parts.build(norm="batch", schedule=schedules.Constant(1e-3), average=0.5)
  iterator = parts.batches(3)
  expected = [one.numpy().astype(np.float64) for one in ours.net.variables]
  for _ in range(3):
    ours.take(iterator, 1)
    for index, variable in enumerate(ours.net.variables):
      expected[index] = 0.5 * expected[index] + 0.5 * variable.numpy()
  moved = 0
  for variable, average, value in zip(
    ours.net.variables, ours.averaging.averages, expected, strict=True
  ):
    np.testing.assert_allclose(average, value, rtol=1e-5, atol=1e-6, err_msg=variable.name)
    moved += not np.array_equal(average, variable)
  assert moved == len(expected) - 1  # all but the mean RGB


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_impossible_decays_are_refused(decay):
  with pytest.raises(errors.UsageError, match="decay="):
    averaging.ExponentialMovingAverage(decay)


def test_weights_are_chosen_by_a_plain_word():
  with pytest.raises(errors.UsageError, match=r"weights = 'best' is unknown: .*'raw', 'ema'"):
    averaging.check_choice("weights", "best")
