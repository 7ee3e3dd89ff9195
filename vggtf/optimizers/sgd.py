"""Stochastic gradient descent with momentum, in Caffe's form (paper, section 3.1)."""

import types
from collections.abc import Iterable

import tensorflow as tf


class SGD(tf.Module):
  """v <- momentum * v + rate * g;  w <- w - v. A `contracts.Optimizer`.

  With Nesterov's momentum w <- w - (momentum * v + rate * g), v being the new velocity, which is
  Caffe's (1 + momentum) * v_new - momentum * v_old.

  The rate is inside the velocity, as in Caffe, so after a drop of the rate the velocity fades as it
  was; in PyTorch, which multiplies the velocity by the rate, it shrinks at once.
  """

  elementwise = True

  def __init__(self, momentum: float = 0.9, bias_rate: float = 2.0, nesterov: bool = False):
    """Takes the rule's constants.

    Args:
      momentum: the paper's is 0.9.
      bias_rate: multiplies the learning rate of variables of rank 1 (biases, scales and offsets of
        norms). The paper does not say; the recipes of its framework, Caffe, have 2.
      nesterov: whether the step looks ahead along the velocity; the paper's does not.
    """
    super().__init__("sgd")
    self._momentum = momentum
    self._bias_rate = bias_rate
    self._nesterov = nesterov

  def build(self, variables: Iterable[tf.Variable]) -> None:
    """Creates a velocity of 0 for each variable, inside the strategy's scope."""
    # In a namespace, where neither a checkpoint nor `self.variables` finds the model's variables.
    self._targets = types.SimpleNamespace(variables=list(variables))
    with self.name_scope:
      self.velocities = [
        tf.Variable(tf.zeros(one.shape), trainable=False, name=one.name.split(":")[0])
        for one in self._targets.variables
      ]

  def apply(self, gradients: Iterable[tf.Tensor], learning_rate: tf.Tensor) -> None:
    """Updates the variables of this replica.

    Args:
      gradients: float32, one for each built variable, in order; already summed over replicas.
      learning_rate: float32 scalar.
    """
    for gradient, variable, velocity in zip(
      gradients, self._targets.variables, self.velocities, strict=True
    ):
      rate = learning_rate * self._bias_rate if variable.shape.rank == 1 else learning_rate
      # The kernel keeps -v. It takes handles, which inside a replica are that replica's own.
      tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=velocity.handle,
        lr=rate,
        grad=gradient,
        momentum=self._momentum,
        use_nesterov=self._nesterov,
      )
