"""Schedules against rates written by hand and those of PyTorch."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.peers import needs_torch, torch
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


def test_polynomial_by_hand():
  schedule = schedules.Polynomial(initial=0.4, steps=1000, power=2.0, final=0.1)
  assert schedule(tf.constant(7)).dtype == tf.float32
  expected = [0.4, 0.1 + 0.3 * 0.25, 0.1 + 0.3 * 0.001**2, 0.1, 0.1]
  np.testing.assert_allclose(rates(schedule, [0, 500, 999, 1000, 5000]), expected, rtol=1e-6)


def test_cosine_by_hand():
  schedule = schedules.Cosine(initial=0.3, steps=370000)
  assert schedule(tf.constant(7)).dtype == tf.float32
  steps = np.array([0, 1, 92500, 185000, 277500, 369990, 369999])
  angle = np.pi * (370000 - steps) / 370000
  # As the sum of a series where the cosine itself has no digits left in float64.
  share = np.where(angle < 1e-3, angle**2 / 4 - angle**4 / 48, (1 - np.cos(angle)) / 2)
  np.testing.assert_allclose(rates(schedule, steps), 0.3 * share, rtol=1e-6)
  assert rates(schedule, [370000, 10**6]) == [0, 0]
  ends = rates(schedules.Cosine(initial=0.3, steps=10, final=0.2), [0, 5, 10, 11])
  np.testing.assert_allclose(ends, [0.3, 0.25, 0.2, 0.2], rtol=1e-6)


def torch_rates(make, initial, steps):
  optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=initial)
  schedule, found = make(optimizer), []
  for _ in range(steps):
    found.append(optimizer.param_groups[0]["lr"])
    optimizer.step()
    schedule.step()
  return found


@needs_torch
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_curves_are_those_of_torch(jit_compile):
  scheduler = torch.optim.lr_scheduler if torch else None
  for ours, theirs in (
    (
      schedules.Polynomial(initial=0.4, steps=10, power=2.0),
      lambda optimizer: scheduler.PolynomialLR(optimizer, total_iters=10, power=2.0),
    ),
    (
      schedules.Cosine(initial=0.4, steps=10, final=0.1),
      lambda optimizer: scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=0.1),
    ),
    (
      schedules.LinearWarmUp(lambda: schedules.Constant(0.4), steps=5),
      lambda optimizer: scheduler.LinearLR(optimizer, start_factor=1 / 5, total_iters=4),
    ),
  ):
    function = ours if jit_compile is None else tf.function(ours, jit_compile=jit_compile)
    found = [float(function(tf.constant(step, tf.int64))) for step in range(10)]
    np.testing.assert_allclose(found, torch_rates(theirs, 0.4, 10), rtol=1e-6)


def test_warm_up_lowers_the_other_schedule_at_first():
  schedule = schedules.LinearWarmUp(
    lambda: schedules.Steps(boundaries=(3, 6), initial=1.0), steps=4
  )
  expected = [0.25, 0.5, 0.75, 0.1, 0.1, 0.1, 0.01]
  np.testing.assert_allclose(rates(schedule, range(7)), expected, rtol=1e-6)
  assert not hasattr(schedule, "observe")


def test_a_plateau_inside_a_warm_up_still_observes_and_is_saved(tmp_path):
  def build():
    return schedules.LinearWarmUp(lambda: schedules.Plateau(patience=1), steps=2)

  first, second = build(), build()
  assert rates(first, [0, 1, 2]) == pytest.approx([0.005, 0.01, 0.01])
  for error in (0.5, 0.5):
    first.observe(error)
  assert rates(first, [0, 1, 2]) == pytest.approx([0.0005, 0.001, 0.001])
  path = tf.train.Checkpoint(schedule=first).write(str(tmp_path / "state"))
  tf.train.Checkpoint(schedule=second).read(path).assert_consumed()
  assert rates(second, [5]) == pytest.approx([0.001])


@pytest.mark.parametrize(
  "build",
  [
    lambda: schedules.Polynomial(0.1, steps=0),
    lambda: schedules.Cosine(0.1, steps=-5),
    lambda: schedules.LinearWarmUp(lambda: schedules.Constant(0.1), steps=0),
  ],
)
def test_curves_have_steps(build):
  with pytest.raises(errors.UsageError, match="expected at least 1 step"):
    build()


def test_a_polynomial_has_a_positive_power():
  with pytest.raises(errors.UsageError, match="power=0"):
    schedules.Polynomial(0.1, steps=10, power=0)


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
