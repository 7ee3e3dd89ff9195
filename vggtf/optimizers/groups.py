"""Learning rates by layer name, and layers that do not learn: what fine-tuning asks for."""

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Mapping

import tensorflow as tf

from vggtf import contracts, errors


class ByName(tf.Module):
  """Multiplies the rate of the layers that patterns name; a `contracts.Optimizer` around another.

  A pattern is of the shell's kind and means a layer ("fc8", "conv1_*") or a variable
  ("fc8/biases"). Where several match, the longest counts, so {"*": 0.0, "fc8": 10.0} trains fc8
  alone. What none matches keeps the schedule's rate.

  A multiplier of 0 freezes: those variables keep their bits, whatever momentum or weight decay
  would do. Batch norm's moving statistics, which no rate reaches, follow the batches all the same.
  Every other multiplier has an optimizer to itself, so an optimizer that looks at all gradients at
  once, such as `clip.ByGlobalNorm`, belongs around this one and not inside.

  Attributes:
    optimizers: that of each multiplier but 0, from the smallest.
  """

  def __init__(
    self, optimizer: Callable[[], contracts.Optimizer], multipliers: Mapping[str, float]
  ):
    """Takes the constructor of the optimizer that is wrapped, and the multiplier of each pattern.

    Raises:
      UsageError: a multiplier is negative.
    """
    super().__init__("by_name")
    for pattern, multiplier in multipliers.items():
      if not multiplier >= 0:
        raise errors.UsageError(
          f"groups.ByName.multipliers has {pattern!r}: {multiplier}; expected 0 (frozen) or more"
        )
    self._optimizer, self._patterns = optimizer, dict(multipliers)

  @property
  def decays_weights(self) -> bool:
    return any(getattr(one, "decays_weights", False) for one in self.optimizers)

  @property
  def elementwise(self) -> bool:
    return all(getattr(one, "elementwise", False) for one in self.optimizers)

  def build(self, variables: Iterable[tf.Variable]) -> None:
    """Groups the variables and creates the optimizers with their slots, in the strategy's scope.

    Raises:
      UsageError: a pattern matches nothing, two of a length disagree, or all is frozen.
    """
    variables = list(variables)
    names = [one.name.split(":")[0] for one in variables]
    self._check_patterns(names)
    multipliers = [self._multiplier(name) for name in names]
    self._rates = sorted(set(multipliers) - {0})
    if not self._rates:
      raise errors.UsageError("groups.ByName.multipliers freezes every layer: nothing would train")
    self._places = [
      [place for place, one in enumerate(multipliers) if one == rate] for rate in self._rates
    ]
    self._count = len(variables)
    self.optimizers = [self._optimizer() for _ in self._rates]
    for optimizer, places in zip(self.optimizers, self._places, strict=True):
      optimizer.build([variables[place] for place in places])

  def apply(self, gradients: Iterable[tf.Tensor], learning_rate: tf.Tensor) -> None:
    """Hands each optimizer its gradients and its rate."""
    gradients = list(gradients)
    if len(gradients) != self._count:
      raise ValueError(f"{len(gradients)} gradients for {self._count} variables")
    for rate, places, optimizer in zip(self._rates, self._places, self.optimizers, strict=True):
      optimizer.apply([gradients[place] for place in places], learning_rate * rate)

  def _multiplier(self, name: str) -> float:
    matching = [pattern for pattern in self._patterns if _matches(name, pattern)]
    longest = max(map(len, matching), default=0)
    found = {self._patterns[one]: one for one in matching if len(one) == longest}
    if len(found) > 1:
      raise errors.UsageError(
        f"groups.ByName.multipliers: {' and '.join(map(repr, found.values()))} both name {name} "
        "and disagree; name it by one longer pattern"
      )
    return next(iter(found), 1.0)

  def _check_patterns(self, names: list[str]) -> None:
    for pattern in self._patterns:
      if not any(_matches(name, pattern) for name in names):
        known = [*dict.fromkeys(name.rpartition("/")[0] for name in names), *names]
        close = difflib.get_close_matches(pattern, known, 3) or known[:3]
        raise errors.UsageError(
          f"groups.ByName.multipliers: {pattern!r} matches no layer of the net; it has such as "
          f"{', '.join(close)}"
        )


def _matches(name: str, pattern: str) -> bool:
  return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")
