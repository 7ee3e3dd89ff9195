"""The loss of nets with heads that only help in training."""

from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts


class WeightedHeads:
  """Another loss, plus `weight` times the same of each auxiliary head; a `contracts.Loss`.

  As GoogLeNet is trained (Szegedy et al., 2015, section 5). A net without such heads has the other
  loss alone.
  """

  def __init__(self, loss: Callable[[], contracts.Loss], weight: float = 0.3):
    """Takes the constructor of the loss of one head, and the weight of an auxiliary one."""
    self._loss, self._weight = loss(), weight

  def __call__(self, outputs: contracts.Outputs, labels: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example, float32 [N], for labels int32 [N]."""
    alone = outputs._replace(auxiliary=())
    total = self._loss(alone, labels)
    for logits in outputs.auxiliary:
      total += self._weight * self._loss(alone._replace(logits=logits), labels)
    return total
