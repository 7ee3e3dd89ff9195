"""Optimizers of TensorFlow Addons, and those of Keras 2 that its wrappers take."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from vggtf import addons, errors

# Not rules by themselves: bases of others, and one that asks for Keras layers.
_NOT_RULES = {"AveragedOptimizerWrapper", "KerasLegacyOptimizer", "MultiOptimizer", "Optimizer"}


class Optimizer(tf.Module):
  """A rule of `tfa.optimizers`, maybe wrapped in others of them; a `contracts.Optimizer`.

  The rate is our schedule's, anew at every step; a rule that takes none (COCOB) does without.
  Gradients come summed over the replicas, so the rule does not sum them again.

  A rule that decays weights by itself (options or rates called weight_decay) wants
  `weight_decay.Nothing` as the run's penalty; with another the job refuses to start.

  The averages of MovingAverage and SWA are in the checkpoint, but measured and exported are the
  weights themselves; to measure an average, take `averaging.ExponentialMovingAverage`.

  Attributes:
    slots: all that the rule remembers; the count of its updates first.
    decays_weights: whether it decays weights.
  """

  def __init__(
    self,
    rule: str,
    options: Mapping[str, Any] | None = None,
    wrappers: Sequence[tuple[str, Mapping[str, Any]]] = (),
    weight_decay_per_rate: float | None = None,
  ):
    """Takes names and arguments as Addons' own documentation has them.

    Args:
      rule: a class of `tfa.optimizers`, such as "LAMB", or of Keras 2, such as "SGD".
      options: its arguments, but for the learning rate.
      wrappers: from the inside out, such as (("Lookahead", {"sync_period": 6}),).
      weight_decay_per_rate: for SGDW and AdamW, in place of their option weight_decay: a step
        subtracts rate * this * w, as in PyTorch and `adamw.AdamW`. Theirs subtracts
        weight_decay * w whatever the rate is, which a schedule does not lower.

    Raises:
      UsageError: there is no such rule, or it does not take these options.
      EnvironmentFault: TensorFlow Addons cannot be imported.
    """
    super().__init__("addons")
    options = dict(options or {})
    # In a namespace, where a checkpoint does not find it: what it remembers is in `slots`.
    self._hidden = types.SimpleNamespace()
    self._hidden.rate = tf.Variable(
      0.0,
      trainable=False,
      name="learning_rate",
      aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
    if weight_decay_per_rate is not None:
      options["weight_decay"] = lambda: self._hidden.rate * weight_decay_per_rate
    decays = [value for name, value in options.items() if name.startswith("weight_decay")]
    self.decays_weights = any(callable(one) or one for one in decays)

    known = _rules()
    kind = _choose(rule, known)
    if "learning_rate" in inspect.signature(kind).parameters:
      options["learning_rate"] = lambda: self._hidden.rate
    optimizer = addons.construct("Optimizer", rule, kind, options)
    for name, arguments in wrappers:
      optimizer = addons.construct(
        "Optimizer", name, _choose(name, known), {"optimizer": optimizer, **arguments}
      )
    self._hidden.optimizer = optimizer

  def build(self, variables: Iterable[tf.Variable]) -> None:
    """Creates what the rule remembers of each variable, inside the strategy's scope."""
    self._hidden.variables = list(variables)
    optimizer = self._hidden.optimizer
    optimizer._create_all_weights(self._hidden.variables)  # else at the first step, in a replica
    self.slots = list(optimizer.weights)

  def apply(self, gradients: Iterable[tf.Tensor], learning_rate: tf.Tensor) -> None:
    """Updates the variables of this replica.

    Args:
      gradients: float32, one for each built variable, in order; already summed over replicas.
      learning_rate: float32 scalar.
    """
    # The kernel takes a handle, which inside a replica is that replica's own.
    tf.raw_ops.AssignVariableOp(resource=self._hidden.rate.handle, value=learning_rate)
    self._hidden.optimizer.apply_gradients(
      zip(gradients, self._hidden.variables, strict=True), experimental_aggregate_gradients=False
    )


def _rules() -> dict[str, type]:
  """Returns the optimizers by name; where both have one, that of Addons."""
  legacy = tf.keras.optimizers.legacy
  ours = addons.load().optimizers
  return {
    name: found
    for module in (legacy, ours)
    for name, found in vars(module).items()
    if inspect.isclass(found) and issubclass(found, legacy.Optimizer) and name not in _NOT_RULES
  }


def _choose(name: str, known: Mapping[str, type]) -> type:
  if name not in known:
    close = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise errors.UsageError(
      f"addons.Optimizer: {name!r} is no rule of TensorFlow Addons; known: "
      f"{', '.join(sorted(known))}.{hint}"
    )
  return known[name]
