"""The sum over heads by hand."""

import functools

import numpy as np
import tensorflow as tf

from vggtf import contracts
from vggtf.losses import auxiliary, softmax

LABELS = np.array([0, 2], np.int32)


def draw(seed):
  return tf.constant(np.random.default_rng(seed).standard_normal((2, 3)), tf.float32)


def one_head(logits):
  return softmax.Softmax(0.1)(contracts.Outputs(logits), LABELS).numpy()


def test_auxiliary_heads_count_by_their_weight():
  logits, *heads = map(draw, range(3))
  loss = auxiliary.WeightedHeads(functools.partial(softmax.Softmax, 0.1), weight=0.5)
  found = loss(contracts.Outputs(logits, tuple(heads)), LABELS)
  expected = one_head(logits) + 0.5 * (one_head(heads[0]) + one_head(heads[1]))
  assert found.shape == (2,)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_weight_is_googlenets():
  logits, head = draw(0), draw(1)
  found = auxiliary.WeightedHeads(softmax.Softmax)(contracts.Outputs(logits, (head,)), LABELS)
  alone = [softmax.Softmax()(contracts.Outputs(one), LABELS).numpy() for one in (logits, head)]
  np.testing.assert_allclose(found, alone[0] + 0.3 * alone[1], rtol=1e-6)


def test_a_net_without_such_heads_has_the_loss_alone():
  loss = auxiliary.WeightedHeads(functools.partial(softmax.Softmax, 0.1))
  np.testing.assert_array_equal(loss(contracts.Outputs(draw(0)), LABELS), one_head(draw(0)))
