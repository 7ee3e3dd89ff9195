import numpy as np
import pytest
import tensorflow as tf

from tests.conformance import configurations
from vggtf import contracts

CHANGE = 0.02  # of the loss, what a step along the gradient should make


@pytest.mark.parametrize("name", configurations.NETS)
def test_gradient_is_the_slope_of_the_loss(name):
  net = configurations.net(name)
  images, labels = configurations.pictures(net.input_size), tf.constant([1, 2])
  drawn = [variable.numpy() for variable in net.trainable_variables]

  @tf.function
  def compute():
    with tf.GradientTape() as tape:
      outputs = net(images, contracts.Training(seed=tf.constant([1, 2])))
      loss = sum(
        tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        for logits in (tf.cast(one, tf.float64) for one in (outputs.logits, *outputs.auxiliary))
      )
    return loss, tape.gradient(loss, net.trainable_variables)

  _, gradients = compute()
  square = sum(float(tf.reduce_sum(tf.cast(one, tf.float64) ** 2)) for one in gradients)
  assert square > 0
  losses = []
  for side in (1, -1):
    for variable, first, gradient in zip(net.trainable_variables, drawn, gradients, strict=True):
      variable.assign(first + np.float32(side * CHANGE / 2 / square) * gradient)
    losses.append(float(compute()[0]))
  for variable, first in zip(net.trainable_variables, drawn, strict=True):
    variable.assign(first)
  assert losses[0] - losses[1] == pytest.approx(CHANGE, rel=0.03)  # batch norm bends most
