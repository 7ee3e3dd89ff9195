"""The loss against SciPy in float64."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from vggtf import contracts, errors
from vggtf.losses import softmax

LABELS = np.array([0, 6, 3, 3], np.int32)


def logits():
  return (30 * np.random.default_rng(1).standard_normal((4, 7))).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_cross_entropy(smoothing):
  target = (1 - smoothing) * np.eye(7)[LABELS] + smoothing / 7
  expected = -(target * scipy.special.log_softmax(logits().astype(np.float64), axis=1)).sum(axis=1)
  loss = softmax.Softmax(smoothing)(contracts.Outputs(logits=tf.constant(logits())), LABELS)
  assert loss.dtype == tf.float32
  assert loss.shape == (4,)
  np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_gradient_is_posterior_minus_target():
  values = tf.constant(logits())
  with tf.GradientTape() as tape:
    tape.watch(values)
    loss = softmax.Softmax(0.1)(contracts.Outputs(logits=values), LABELS)
  expected = scipy.special.softmax(logits(), axis=1) - 0.9 * np.eye(7)[LABELS] - 0.1 / 7
  np.testing.assert_allclose(tape.gradient(loss, values), expected, atol=1e-6)


def test_impossible_smoothing_is_refused():
  with pytest.raises(errors.UsageError, match="label_smoothing=1"):
    softmax.Softmax(1.0)
