"""The penalty against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from vggtf.losses import weight_decay


@pytest.mark.parametrize("biases", [False, True])
def test_value_and_gradients(biases):
  generator = np.random.default_rng(1)
  values = [generator.standard_normal(shape) for shape in [(3, 3, 2, 4), (4,), (1, 1, 4, 5)]]
  gradients = [generator.standard_normal(value.shape) for value in values]
  variables = [tf.Variable(value, dtype=tf.float32) for value in values]
  penalty = weight_decay.L2(decay=0.01, biases=biases)

  decayed = [value for value in values if value.ndim > 1 or biases]
  expected = 0.01 / 2 * sum((value**2).sum() for value in decayed)
  np.testing.assert_allclose(penalty.value(variables), expected, rtol=1e-6)

  summed = penalty.add([tf.constant(one, tf.float32) for one in gradients], variables)
  for total, gradient, value in zip(summed, gradients, values, strict=True):
    multiplier = 0.01 if value.ndim > 1 or biases else 0.0
    np.testing.assert_allclose(total, gradient + multiplier * value, rtol=1e-5, atol=1e-6)


def test_gradient_of_the_value_is_what_is_added():
  variable = tf.Variable(np.random.default_rng(1).standard_normal((2, 3)), dtype=tf.float32)
  penalty = weight_decay.L2()
  with tf.GradientTape() as tape:
    value = penalty.value([variable])
  (added,) = penalty.add([tf.zeros((2, 3))], [variable])
  np.testing.assert_allclose(added, tape.gradient(value, variable), rtol=1e-6)


def test_nothing_to_decay_is_zero():
  assert weight_decay.L2().value([tf.Variable([1.0])]) == 0


def test_no_penalty_leaves_gradients_alone():
  variable, gradient = tf.Variable([[1.0, 2.0]]), tf.constant([[3.0, 4.0]])
  nothing = weight_decay.Nothing()
  assert nothing.value([variable]) == 0
  (found,) = nothing.add([gradient], [variable])
  np.testing.assert_array_equal(found, gradient)
