"""The L2 penalty, in Caffe's form (paper, section 3.1: multiplier 5e-4), and none."""

from collections.abc import Iterable, Sequence

import tensorflow as tf


class L2:
  """decay / 2 * sum of w^2, so that its gradient is decay * w.

  Apply it once to a global step, after the gradients of all replicas are summed. It goes through
  momentum like any gradient (it is not decoupled).
  """

  def __init__(self, decay: float = 5e-4, biases: bool = False):
    """Takes the multiplier and the variables that it is for.

    Args:
      decay: the multiplier.
      biases: whether variables of rank 1 (biases, scales and offsets of norms) decay too. The paper
        does not say; the recipes of its framework, Caffe, spare them.
    """
    self._decay = decay
    self._biases = biases

  def value(self, variables: Iterable[tf.Variable]) -> tf.Tensor:
    """Returns the penalty, a float32 scalar."""
    return self._decay * tf.add_n(
      [tf.nn.l2_loss(one) for one in variables if self._decays(one)] or [tf.constant(0.0)]
    )

  def add(
    self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]
  ) -> list[tf.Tensor]:
    """Returns the gradients, one for each variable in order, plus those of the penalty."""
    return [
      gradient + self._decay * variable if self._decays(variable) else gradient
      for gradient, variable in zip(gradients, variables, strict=True)
    ]

  def _decays(self, variable: tf.Variable) -> bool:
    return self._biases or variable.shape.rank > 1


class Nothing:
  """No penalty; for optimizers that decay weights by themselves. A `contracts.WeightDecay`."""

  def value(self, variables: Iterable[tf.Variable]) -> tf.Tensor:
    """Returns 0, a float32 scalar."""
    del variables
    return tf.constant(0.0)

  def add(
    self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]
  ) -> list[tf.Tensor]:
    """Returns the gradients as they are."""
    del variables
    return list(gradients)
