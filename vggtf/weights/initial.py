"""First weights from a trained net: the paper's staged initialisation, and fine-tuning.

`train.run.initial` binds one of these. What was copied and what stays as it was drawn is reported.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

import numpy as np

from vggtf import contracts, errors, weights

ALL = "all"


class FromWeights:
  """Copies layers by name into a net that was just drawn.

  The mean RGB is not copied: it is that of the data, like the classes.

  Attributes:
    source: a run's folder, or a file of any format that `vggtf.weights.read` knows.
    layers: names or patterns of layers, such as "conv1_1" and "fc*". "all" takes every layer of the
      net but those which end in other classes than the source's: a new set of classes draws its
      fc8 anew.
    which: of a run: "raw" weights, or "ema", their averages.
    checkpoint_choice: of a run: "latest" or "best".
  """

  def __init__(
    self,
    source: str,
    layers: Sequence[str] | str = ALL,
    which: str = "raw",
    checkpoint_choice: str = "latest",
  ):
    if isinstance(layers, str) and layers != ALL:
      raise errors.UsageError(f"FromWeights.layers = {layers!r}: expected 'all' or a list of names")
    self.source, self.layers = source, layers
    self.which, self.checkpoint_choice = which, checkpoint_choice

  def __call__(self, net: contracts.Model) -> str:
    """Copies, and returns which layers were copied and which were drawn.

    Raises:
      UsageError: a tensor is missing in the source, left over, or has another shape; all are
        listed, and the net is as it was.
    """
    found = weights.read(self.source, self.which, self.checkpoint_choice)
    variables = {
      name: variable
      for variable in net.variables
      if "/" in (name := variable.name.partition(":")[0])  # not the mean
    }
    if self.layers == ALL:
      dropped = _other_classes(variables, found, net.classes)
      chosen = [name for name in variables if _layer(name) not in dropped]
      extra = [f"{n} is not in the net" for n in found.tensors.keys() - variables.keys()]
    else:
      chosen, extra = _matching(variables, self.layers), []
    if problems := sorted(extra) + _differences({n: variables[n] for n in chosen}, found.tensors):
      raise errors.UsageError(
        f"{self.source} does not fit the net, and nothing was copied: {'; '.join(problems)}; name "
        "the layers that it shares with the net in FromWeights.layers"
      )
    for name in chosen:
      variables[name].assign(found.tensors[name])
    drawn = _names(variables.keys() - set(chosen), variables)
    numbers = sum(found.tensors[name].size for name in chosen)
    return (
      f"copied from {self.source}: {_names(set(chosen), variables)} ({len(chosen)} tensors, "
      f"{numbers:,} numbers); drawn: {drawn or 'nothing'}"
    )


def _layer(name: str) -> str:
  return name.rpartition("/")[0]


def _names(tensors: set[str], variables: Mapping) -> str:
  """Returns the layers of some tensors, in the order of the net."""
  return ", ".join(dict.fromkeys(_layer(name) for name in variables if name in tensors))


def _matching(variables: Mapping, patterns: Sequence[str]) -> list[str]:
  """Returns the names whose layer a pattern matches; every pattern must match."""
  layers = dict.fromkeys(map(_layer, variables))
  idle = [pattern for pattern in patterns if not fnmatch.filter(layers, pattern)]
  if idle:
    raise errors.UsageError(
      f"FromWeights.layers has {', '.join(idle)}, which the net has not; it has {', '.join(layers)}"
    )
  return [
    name
    for name in variables
    if any(fnmatch.fnmatchcase(_layer(name), pattern) for pattern in patterns)
  ]


def _other_classes(variables: Mapping, found: weights.Weights, classes: int) -> set[str]:
  """Returns the layers that end in a score for each class, where the source has more or fewer."""
  layers, labels = set(), found.facts.labels
  for name in variables.keys() & found.tensors.keys():
    *ours, here = variables[name].shape
    *theirs, there = found.tensors[name].shape
    scores = here == classes and there == (len(labels) if labels else there)
    if scores and ours == theirs and here != there:
      layers.add(_layer(name))
  return layers


def _differences(variables: Mapping, tensors: Mapping[str, np.ndarray]) -> list[str]:
  problems = []
  for name, variable in variables.items():
    if name not in tensors:
      problems.append(f"{name} is missing")
    elif tensors[name].shape != tuple(variable.shape):
      problems.append(f"{name} has the shape {tensors[name].shape}, not {tuple(variable.shape)}")
  return problems
