"""Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""

import types
from collections.abc import Iterable

import tensorflow as tf


class AdamW(tf.Module):
  """w <- w - rate * (decay * w + m' / (sqrt(v') + epsilon)). A `contracts.Optimizer`.

    m <- beta1 * m + (1 - beta1) * g        m' = m / (1 - beta1^t)
    v <- beta2 * v + (1 - beta2) * g^2      v' = v / (1 - beta2^t)

  with t = 1 at the first update: algorithm 2 of the paper with the schedule inside the rate, as in
  PyTorch. The decay does not go through m and v, so the penalty of the run is to be
  `weight_decay.Nothing`; with another the job refuses to start.

  Attributes:
    first_moments, second_moments: m and v of each variable, float32.
    updates: int64, t.
    decays_weights: whether the decay is not 0.
  """

  elementwise = True

  def __init__(
    self,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    decay: float = 0.01,
    biases: bool = False,
  ):
    """Takes the rule's constants.

    Args:
      beta1: what stays of the mean of gradients in an update.
      beta2: what stays of the mean of their squares.
      epsilon: added to the root, so that small gradients do not make large steps.
      decay: multiplied by the rate, the share of a weight that an update takes away.
      biases: whether variables of rank 1 (biases, scales and offsets of norms) decay too.
    """
    super().__init__("adamw")
    self._beta1, self._beta2, self._epsilon = beta1, beta2, epsilon
    self._decay, self._biases = decay, biases
    self.decays_weights = decay > 0

  def build(self, variables: Iterable[tf.Variable]) -> None:
    """Creates the moments, 0, and the count, inside the strategy's scope."""
    # In a namespace, where neither a checkpoint nor `self.variables` finds the model's variables.
    self._targets = types.SimpleNamespace(variables=list(variables))
    with self.name_scope:
      self.first_moments = [_zeros(one, "first") for one in self._targets.variables]
      self.second_moments = [_zeros(one, "second") for one in self._targets.variables]
      self.updates = tf.Variable(0, trainable=False, dtype=tf.int64, name="updates")

  def apply(self, gradients: Iterable[tf.Tensor], learning_rate: tf.Tensor) -> None:
    """Updates the variables of this replica.

    Args:
      gradients: float32, one for each built variable, in order; already summed over replicas.
      learning_rate: float32 scalar.
    """
    # The kernels take handles, which inside a replica are that replica's own.
    count = self.updates.handle
    tf.raw_ops.AssignAddVariableOp(resource=count, value=tf.constant(1, tf.int64))
    updates = tf.raw_ops.ReadVariableOp(resource=count, dtype=tf.int64)
    first, second = _correction(self._beta1, updates), tf.sqrt(_correction(self._beta2, updates))
    for gradient, variable, mean, square in zip(
      gradients, self._targets.variables, self.first_moments, self.second_moments, strict=True
    ):
      if self._decay and (self._biases or variable.shape.rank > 1):
        tf.raw_ops.AssignSubVariableOp(
          resource=variable.handle, value=learning_rate * self._decay * variable
        )
      # The corrections are in the rate and in epsilon: the kernel's own, of powers in float32,
      # lose 1e-5, and it adds epsilon to the uncorrected root.
      tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=mean.handle,
        v=square.handle,
        beta1_power=0.0,
        beta2_power=0.0,
        lr=learning_rate * tf.cast(second / first, tf.float32),
        beta1=self._beta1,
        beta2=self._beta2,
        epsilon=self._epsilon * tf.cast(second, tf.float32),
        grad=gradient,
      )


def _zeros(variable: tf.Variable, moment: str) -> tf.Variable:
  name = f"{variable.name.split(':')[0]}/{moment}"
  return tf.Variable(tf.zeros(variable.shape), trainable=False, name=name)


def _correction(beta: float, updates: tf.Tensor) -> tf.Tensor:
  """Returns 1 - beta^updates, float64, of the beta in float32 that the moments are made with."""
  beta = tf.cast(tf.constant(beta, tf.float32), tf.float64)
  return 1 - beta ** tf.cast(updates, tf.float64)
