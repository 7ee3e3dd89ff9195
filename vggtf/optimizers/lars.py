"""Layer-wise adaptive rates for large batches (You, Gitman & Ginsburg, 2017)."""

import types
from collections.abc import Callable, Iterable

import tensorflow as tf

from vggtf import contracts, errors


class LARS(tf.Module):
  """g <- trust * |w| / (|g| + decay * |w|) * (g + decay * w), variable by variable.

  A `contracts.Optimizer` around another, which takes this g; around `sgd.SGD`, whose velocity has
  the rate inside, it is the paper's algorithm 1. Variables of rank 1 (biases, scales and offsets of
  norms) pass as they are: their norms say nothing of a layer's scale. A variable or a gradient of
  norm 0 passes without its ratio, as in the authors' code.

  The decay must be known apart from the gradient, so the penalty of the run is to be
  `weight_decay.Nothing`; with another the job refuses to start.

  Attributes:
    optimizer: takes the scaled gradients.
    decays_weights: whether the decay is not 0.
  """

  def __init__(
    self,
    optimizer: Callable[[], contracts.Optimizer],
    trust: float = 0.001,
    decay: float = 5e-4,
  ):
    """Takes the constructor of the optimizer that is wrapped, and the rule's constants.

    Args:
      optimizer: the rule that takes the scaled gradients, `sgd.SGD`.
      trust: how far, as a share of its norm, a layer moves at rate 1; the authors' is 0.001.
      decay: L2 multiplier of variables of rank 2 and more; the authors' is 5e-4.

    Raises:
      UsageError: the trust is not positive or the decay negative.
    """
    super().__init__("lars")
    if not (trust > 0 and decay >= 0):
      raise errors.UsageError(f"lars.LARS: trust={trust} must be > 0 and decay={decay} >= 0")
    self._trust, self._decay = trust, decay
    self.decays_weights = decay > 0
    self.optimizer = optimizer()

  def build(self, variables: Iterable[tf.Variable]) -> None:
    """Creates the slots of the wrapped optimizer, inside the strategy's scope."""
    self._targets = types.SimpleNamespace(variables=list(variables))  # not the model's owner
    self.optimizer.build(self._targets.variables)

  def apply(self, gradients: Iterable[tf.Tensor], learning_rate: tf.Tensor) -> None:
    """Scales and hands on.

    Args:
      gradients: float32, one for each built variable, in order; already summed over replicas.
      learning_rate: float32 scalar, the paper's global rate.
    """
    scaled = [
      gradient if variable.shape.rank == 1 else self._scale(gradient, variable)
      for gradient, variable in zip(gradients, self._targets.variables, strict=True)
    ]
    self.optimizer.apply(scaled, learning_rate)

  def _scale(self, gradient: tf.Tensor, variable: tf.Variable) -> tf.Tensor:
    length, slope = tf.norm(variable), tf.norm(gradient)
    ratio = tf.where(
      (length > 0) & (slope > 0),
      tf.math.divide_no_nan(self._trust * length, slope + self._decay * length),
      1.0,
    )
    return ratio * (gradient + self._decay * variable)
