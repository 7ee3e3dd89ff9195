"""LARS against its paper's algorithm in NumPy and float64."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers import updates
from vggtf import errors
from vggtf.optimizers import lars, sgd

TRUST, DECAY, MOMENTUM = 0.02, 0.05, 0.9
RATES = [2.0] * 6 + [0.2] * 6
LARS = functools.partial(
  lars.LARS, functools.partial(sgd.SGD, MOMENTUM, bias_rate=1.0), trust=TRUST, decay=DECAY
)


@pytest.mark.parametrize("form", updates.FORMS)
def test_updates_by_hand(form):
  gradients = updates.draw(12)
  weights = updates.draw()[0]
  velocities = [np.zeros(one.shape) for one in weights]
  for step, rate in zip(gradients, RATES, strict=True):
    for index, (weight, gradient) in enumerate(zip(weights, step, strict=True)):
      local, decay = 1.0, 0.0
      if weight.ndim > 1:
        length, slope = np.linalg.norm(weight), np.linalg.norm(gradient)
        local, decay = TRUST * length / (slope + DECAY * length), DECAY
      velocities[index] = MOMENTUM * velocities[index] + rate * local * (gradient + decay * weight)
      weights[index] = weight - velocities[index]
  updates.assert_close(updates.run(LARS, gradients, RATES, **form), weights)


def test_a_step_does_not_depend_on_the_scale_of_the_gradient():
  def moved(scale):
    variable = tf.Variable(tf.ones((2, 3)))
    optimizer = lars.LARS(sgd.SGD, decay=0.0)
    optimizer.build([variable])
    optimizer.apply([scale * tf.constant([[1.0, 2.0, 3.0]] * 2)], tf.constant(1.0))
    return variable.numpy()

  assert (moved(1.0) < 1).all()
  np.testing.assert_allclose(moved(1.0), moved(1000.0), rtol=1e-6)


@pytest.mark.parametrize(("weight", "gradient"), [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0)])
def test_a_norm_of_zero_passes_without_a_ratio(weight, gradient):
  variable = tf.Variable(tf.fill((2, 2), weight))
  optimizer = lars.LARS(sgd.SGD, trust=0.01, decay=0.5)
  optimizer.build([variable])
  optimizer.apply([tf.fill((2, 2), gradient)], tf.constant(0.1))
  np.testing.assert_allclose(variable, weight - 0.1 * (gradient + 0.5 * weight), rtol=1e-6)


def test_impossible_constants_are_refused():
  with pytest.raises(errors.UsageError, match="trust=0"):
    lars.LARS(sgd.SGD, trust=0)
  with pytest.raises(errors.UsageError, match="decay=-1"):
    lars.LARS(sgd.SGD, decay=-1)
