"""What the tests of all rival nets share."""

import numpy as np
import tensorflow as tf

from vggtf import contracts
from vggtf.nn import initializers

MEAN = (123.68, 116.779, 103.939)


def build(make, last, **options):
  """Returns a net whose biases are not 0 and whose logits spread over units, as a trained net's."""
  net = make(**{"mean_rgb": MEAN, "classes": 10, "initializer": initializers.He(), **options})
  for number, layer in enumerate(net.layers.values()):
    layer.biases.assign(tf.random.stateless_normal(layer.biases.shape, (7, number)))
  net.layers[last].weights.assign(net.layers[last].weights / 16)
  return net


def pictures(count, height, width=None):
  """Returns uint8 [count, height, width, 3] of noise."""
  shape = (count, height, width or height, 3)
  return tf.constant(np.random.default_rng(3).integers(0, 256, shape), tf.uint8)


def training():
  return contracts.Training(seed=tf.constant([1, 2]))


def difference(ours, theirs, record) -> float:
  """Returns the largest, and records it; logits near 0 would agree whatever a net did."""
  assert np.std(theirs) > 0.1
  assert ours.shape == theirs.shape
  found = float(np.abs(np.asarray(ours) - theirs).max())
  record("max_abs_difference", found)
  print(f"max abs difference {found:.2e}, logits of std {np.std(theirs):.2f}")
  return found


def gradients(net, batch, labels, jit_compile):
  """Returns {layer: (of weights, of biases)} of the mean loss, auxiliary heads at 0.3."""

  @tf.function(jit_compile=jit_compile)
  def differentiate(batch):
    with tf.GradientTape() as tape:
      outputs = net(batch, training())
      loss = cross_entropy(labels, outputs.logits)
      for logits in outputs.auxiliary:
        loss += 0.3 * cross_entropy(labels, logits)
    return tape.gradient(loss, {n: (one.weights, one.biases) for n, one in net.layers.items()})

  return differentiate(batch)


def cross_entropy(labels, logits):
  return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
