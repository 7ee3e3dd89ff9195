"""Schedules against rates written by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vggtf import errors
from vggtf.optimizers import schedules


def rates(schedule, steps):
  function = tf.function(schedule, input_signature=[tf.TensorSpec([], tf.int64)])
  return [float(function(step)) for step in steps]


def test_constant():
  assert schedules.Constant(0.5)(tf.constant(7)).dtype == tf.float32
  np.testing.assert_allclose(rates(schedules.Constant(0.01), [0, 10**6]), [0.01, 0.01])


def test_steps_drop_at_their_boundaries():
  schedule = schedules.Steps(boundaries=(10, 20, 30), initial=0.01)
  assert schedule(tf.constant(7)).dtype == tf.float32
  expected = [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-5, 1e-5]
  np.testing.assert_allclose(rates(schedule, [0, 9, 10, 19, 20, 30, 10**6]), expected, rtol=1e-7)


def test_steps_without_boundaries_are_constant():
  np.testing.assert_allclose(rates(schedules.Steps(boundaries=()), [0, 5]), [0.01, 0.01])


def test_boundaries_must_increase():
  with pytest.raises(errors.UsageError, match="sort them"):
    schedules.Steps(boundaries=(20, 10))


def observe(schedule, *seen):
  found = []
  for error in seen:
    schedule.observe(error)
    found.append(float(schedule(tf.constant(0))))
  return found


def test_plateau_drops_after_its_patience_and_three_times_in_all():
  schedule = schedules.Plateau(patience=2, threshold=0.01)
  assert float(schedule(tf.constant(0))) == np.float32(0.01)
  found = observe(schedule, 0.9, 0.8, 0.795, 0.85, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7)
  expected = [1e-2] * 3 + [1e-3] * 3 + [1e-4] * 2 + [1e-5] * 4
  np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_slow_improvement_adds_up_to_one():
  schedule = schedules.Plateau(patience=3, threshold=0.01)
  found = observe(schedule, *(0.5 - 0.006 * step for step in range(20)))
  assert set(found) == {float(np.float32(0.01))}


def test_not_a_number_is_never_an_improvement():
  schedule = schedules.Plateau(patience=2)
  found = observe(schedule, math.nan, math.nan, 0.5, math.nan, 0.4)
  np.testing.assert_allclose(found, [1e-2, 1e-3, 1e-3, 1e-3, 1e-3], rtol=1e-7)
  assert schedule.best.numpy() == np.float32(0.4)


def test_patience_must_be_positive():
  with pytest.raises(errors.UsageError, match="patience=0"):
    schedules.Plateau(patience=0)


@pytest.mark.parametrize("cut", range(8))
def test_plateau_goes_on_from_a_checkpoint(cut, tmp_path):
  seen = [0.9, 0.8, 0.8, 0.9, 0.7, 0.8, 0.8, 0.8]
  whole = observe(schedules.Plateau(patience=2), *seen)
  first, second = schedules.Plateau(patience=2), schedules.Plateau(patience=2)
  found = observe(first, *seen[:cut])
  path = tf.train.Checkpoint(schedule=first).write(str(tmp_path / "state"))
  tf.train.Checkpoint(schedule=second).read(path).assert_consumed()
  assert found + observe(second, *seen[cut:]) == whole


def test_plateau_observes_under_a_strategy():
  with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
    schedule = schedules.Plateau(patience=1)
  np.testing.assert_allclose(observe(schedule, 0.9, 0.9), [1e-2, 1e-3], rtol=1e-7)
