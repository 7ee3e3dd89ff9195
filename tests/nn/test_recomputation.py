"""A net that computes its blocks again, against the same net that keeps them."""

import collections

import pytest
import tensorflow as tf

from tests.training import parts
from vggtf import contracts


def differentiate(net, images, labels):
  """Returns the loss, its gradients and the norms' new statistics; what was computed, by kind."""

  @tf.function
  def compute():
    training = contracts.Training(tf.constant([1, 2]), first_example=3)
    with tf.GradientTape() as tape:
      logits = net(tf.constant(images), training).logits
      loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, net.trainable_variables)
    assert all(variable is not value for variable, value in training.updates)
    return loss, gradients, {v.name: value for v, value in training.updates}

  kinds = collections.Counter(
    operation.type for operation in compute.get_concrete_function().graph.get_operations()
  )
  return tf.nest.flatten(compute()), kinds


@pytest.mark.parametrize("norm", [None, "batch"])
def test_gradients_and_statistics_are_the_same_bits(norm):
  given = parts.arrays(1)
  nets = [parts.net(norm=norm, dropout=0.5, recompute=recompute) for recompute in (False, True)]
  (kept, kinds), (again, twice) = (
    differentiate(net, given.image[0], given.label[0]) for net in nets
  )
  assert len(kept) == len(again) == 1 + len(nets[0].trainable_variables) + 2 * len(nets[0].norms)
  for one, other in zip(kept, again, strict=True):
    tf.debugging.assert_equal(one, other)
  assert kinds["Conv2D"] == 8  # the convolutions of net A
  assert twice["Conv2D"] == 16


def test_xla_computes_again_too():
  """Its common-subexpression elimination would give the memory's saving away."""
  given = parts.arrays(1)

  def count(recompute):
    net = parts.net(width=1 / 64, recompute=recompute)

    @tf.function(jit_compile=True)
    def compute(images):
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(images, contracts.Training(tf.constant([1, 2]))).logits)
      return tape.gradient(loss, net.trainable_variables)

    lowered = compute.experimental_get_compiler_ir(tf.constant(given.image[0]))
    return lowered(stage="optimized_hlo").count(" convolution(")

  assert count(recompute=True) == count(recompute=False) + 8
