"""Fusion (section 4.4): the mean of the posteriors of several nets."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from vggtf import contracts, errors
from vggtf.predictors import mean


class Fusion(mean.Mean):
  """One protocol on this run's net and on those of other runs, of any architecture, averaged.

  For each other run, net and protocol are made as if the command were given for that run: what its
  own configuration binds, such as `Dense.scale`, holds for its net.

  Args:
    model: this run's net.
    predictor: constructor of what is averaged, called with each net.
    runs: folders of the other runs.
    within: makes a run's configuration the current one for a while; gin/eval/fusion.gin binds it.
    load: returns the net of a run, called within its configuration; bound there as well.

  Raises:
    UsageError: a net is there twice.
    IntegrityError: a run's classes are others than this one's.
  """

  def __init__(
    self,
    model: contracts.Model,
    predictor: Callable[[contracts.Model], contracts.Predictor],
    runs: Sequence[str],
    within: Callable[[str], AbstractContextManager],
    load: Callable[[str], contracts.Model],
  ):
    parts, nets = [predictor(model)], [model]
    for run in runs:
      with within(run):
        net = load(run)
        _check_classes(model, net, run)
        _check_new(nets, net, run)
        parts.append(predictor(net))
        nets.append(net)
    self._average(f"fusion_{parts[0].name}", parts)

  def describe(self) -> str:
    return f"{len(self.parts)} nets: {super().describe()}"


def _check_classes(model: contracts.Model, other: contracts.Model, run: str) -> None:
  ours, theirs = (getattr(net, "source", None) for net in (model, other))
  if (ours and theirs and ours.labels != theirs.labels) or model.classes != other.classes:
    raise errors.IntegrityError(
      f"Fusion.runs: the net of {run} was trained on other classes than this run's, or in another "
      "order; only nets of the same labels.txt can be fused"
    )


def _check_new(nets: Sequence[contracts.Model], other: contracts.Model, run: str) -> None:
  weights = _weights(other)
  if weights and weights in map(_weights, nets):
    raise errors.UsageError(
      f"Fusion.runs: the net of {run} would count twice; name each of the other runs once, and not "
      "that of --workdir"
    )


def _weights(net: contracts.Model) -> tuple[str, bool] | None:
  """Returns what nets of the same weights alone have in common, None where that is not known."""
  source = getattr(net, "source", None)
  return source and (source.sha256, source.averaged)
