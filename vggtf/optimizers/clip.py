"""Gradients that are too long made shorter before another optimizer takes them."""

from collections.abc import Callable, Iterable

import tensorflow as tf

from vggtf import contracts, errors


class ByGlobalNorm(tf.Module):
  """Scales all gradients by norm / their global norm where that is longer (Pascanu et al., 2013).

  A `contracts.Optimizer` around another. The global norm is that of all gradients as one vector, of
  the whole batch and with the weight decay's part, which the step adds before.

  Attributes:
    optimizer: takes the clipped gradients.
  """

  def __init__(self, optimizer: Callable[[], contracts.Optimizer], norm: float):
    """Takes the constructor of the optimizer that is wrapped, and the longest norm.

    Raises:
      UsageError: the norm is not positive.
    """
    super().__init__("by_global_norm")
    if not norm > 0:
      raise errors.UsageError(f"clip.ByGlobalNorm.norm={norm}: expected a positive number")
    self._norm = norm
    self.optimizer = optimizer()

  @property
  def decays_weights(self) -> bool:
    return getattr(self.optimizer, "decays_weights", False)

  def build(self, variables: Iterable[tf.Variable]) -> None:
    """Creates the slots of the wrapped optimizer, inside the strategy's scope."""
    self.optimizer.build(variables)

  def apply(self, gradients: Iterable[tf.Tensor], learning_rate: tf.Tensor) -> None:
    """Clips and hands on; gradients that are not finite stay so, and the run stops by its loss."""
    clipped, _ = tf.clip_by_global_norm(list(gradients), self._norm)
    self.optimizer.apply(clipped, learning_rate)
