"""Steps in slices against steps of the whole batch, and batch norm against arithmetic by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training import parts
from vggtf import errors
from vggtf.optimizers import schedules
from vggtf.training import accumulation

STEPS = 4


def train(**options):
  """Returns the scalars of some steps with dropout, and the variables before and after them."""
  schedule = schedules.Constant(3e-5)
  ours = parts.build(dropout=0.5, schedule=schedule, **options)
  drawn = parts.values(ours)
  return ours.take(parts.batches(STEPS), STEPS), drawn, parts.values(ours)


@pytest.fixture(scope="module")
def whole():
  return train()


@pytest.mark.parametrize(("slices", "compiled"), [(2, False), (8, False), (4, True)])
def test_slices_take_the_steps_of_the_whole_batch(slices, compiled, whole):
  found, _, values = train(slices=slices, jit_compile=compiled)
  scalars, drawn, expected = whole
  assert found == pytest.approx(scalars, rel=1e-5)
  assert moved(expected, drawn) > 0.01
  # To rounding, beside the change too, which is small beside the weights.
  assert moved(values, expected) < 1e-5 * moved(expected, drawn)


def moved(values, before) -> float:
  """Returns the length of the step from one set of variables to the other."""
  return float(np.sqrt(sum(np.sum((values[name] - before[name]) ** 2) for name in before)))


def test_a_slice_normalises_by_its_own_statistics():
  images = np.random.RandomState(0).normal(size=(6, 2)).astype(np.float32)
  given = []

  def compute(image, label, weight, seed, first_example):
    given.append((image.shape, label.shape, weight.shape))
    total = tf.reduce_sum(image * weight[:, None], 0)
    place = tf.cast(first_example, tf.float32) * tf.reduce_sum(weight)
    return [total], [tf.reduce_mean(image, 0)], {"place": place, "label": tf.reduce_sum(label)}

  sliced = tf.function(accumulation.in_slices(compute, 3, 6))
  gradients, statistics, sums = sliced(
    tf.constant(images), tf.range(6), tf.constant([1.0, 1, 1, 1, 1, 0]), None, 12
  )
  np.testing.assert_allclose(gradients[0], images[:5].sum(0), rtol=1e-5)
  pairs = images.reshape(3, 2, 2).mean(1)
  np.testing.assert_allclose(statistics[0], pairs.mean(0), rtol=1e-5)
  assert sums["place"].numpy() == 2 * 12 + 2 * 14 + 1 * 16
  assert sums["label"].numpy() == 15
  assert set(given) == {((2, 2), (2,), (2,))}  # static shapes, as XLA wants them


@pytest.mark.parametrize("slices", [0, -2, 3, 16])
def test_slices_of_unequal_size_are_refused(slices):
  with pytest.raises(
    errors.UsageError, match=rf"TrainStep.slices = {slices}: expected a divisor of 8"
  ):
    parts.build(slices=slices)
