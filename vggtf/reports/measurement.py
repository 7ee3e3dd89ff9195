"""Lines of results.jsonl that say what was measured, of which nets, on which data, and how sure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from vggtf import contracts, results


class View(NamedTuple):
  """A way in which a net looks at a picture.

  technique, scale: such as "dense", 384. how: in the predictor's own words. share: its weight in
  the whole mean, such as "1/3". Lines of earlier versions have no how and no share; "" is unknown.
  """

  technique: str
  scale: int
  how: str = ""
  share: str = ""

  @property
  def known(self) -> bool:
    """Whether how and share are known."""
    return bool(self.how and self.share)

  @property
  def options(self) -> str:
    """Returns what its words say behind the scale: "mean of scores, flip"."""
    return self.how.partition(", ")[2]


def describe(
  predictor: contracts.Predictor,
  model: contracts.Model,
  remark: str,
  split: str,
  data_sha256: str,
) -> dict:
  """Returns what a measurement is of, all but the numbers.

  run, step: of the run's own net. protocol: how, in words.
  split, data_sha256: of the data. remark: what else the evaluator says of it.
  nets: whose posteriors are averaged; see `nets`.
  details: a name that equal measurements alone have, and their folder below evaluations/.

  Args:
    predictor: what is measured.
    model: the run's own net, with its source.
    remark: what the evaluator adds to the protocol.
    split: of the data.
    data_sha256: of the data's manifest.
  """
  source, found = model.source, nets(predictor, model)
  protocol = predictor.describe() + remark + ", averaged weights" * source.averaged
  if any(net["run"] != source.run for net in found):
    protocol += f" ({' and '.join(net['run'] for net in found)})"
  return named(
    predictor.name,
    run=source.run,
    step=source.step,
    protocol=protocol,
    split=split,
    data_sha256=data_sha256,
    remark=remark,
    nets=found,
  )


def named(name: str, **description) -> dict:
  """Returns a description with its `details`, which begin with a name."""
  digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
  return description | {"details": f"{name}-{description['split']}-{digest[:12]}"}


def lines(description: dict, means: dict) -> list[dict]:
  """Returns a line for each metric, with its standard error, from `describe` and the means."""
  run, step, protocol = (description[name] for name in ("run", "step", "protocol"))
  return [
    line | {"standard_error": standard_error(line["value"], line["count"])} | description
    for line in results.lines("evaluate", run, step, protocol, means)
  ]


def nets(predictor: contracts.Predictor, model: contracts.Model) -> list[dict]:
  """Returns the nets that a predictor asks, in their order.

  Each has net (its title), run, step, checkpoint_sha256, averaged, trained_at ([S_min, S_max] or
  None) and views, how it looks at a picture, the items of a `View` each.

  Args:
    predictor: of one net or several.
    model: the net of parts that do not say which they ask.
  """
  parts: dict[int, tuple[contracts.Model, list[View]]] = {}
  for one, share in _leaves(predictor, Fraction(1)):
    net = getattr(one, "model", model)
    view = View(one.name, one.scale, one.describe(), share)
    parts.setdefault(id(net), (net, []))[1].append(view)
  return [
    {
      "net": getattr(net, "title", type(net).__name__),
      "run": net.source.run,
      "step": net.source.step,
      "checkpoint_sha256": net.source.sha256,
      "averaged": net.source.averaged,
      "trained_at": net.source.trained_at and list(net.source.trained_at),
      "views": merge(of_net),
    }
    for net, of_net in parts.values()
  ]


def views(net: dict) -> list[View]:
  """Returns how a net of a line looked at pictures."""
  return [View(*view) for view in net["views"]]


def merge(found: Iterable[View], means: int = 1) -> list[list]:
  """Returns views as lines keep them, equal ones once with the sum of their shares.

  Args:
    found: the views, with their shares of the mean that each is of.
    means: how many these are, which are averaged in turn.
  """
  shares: dict[tuple, list[str]] = {}
  for *look, share in found:
    shares.setdefault(tuple(look), []).append(share)
  return [
    [*look, str(sum(map(Fraction, equal)) / means) if all(equal) else ""]
    for look, equal in sorted(shares.items())
  ]


def standard_error(fraction: float, count: int) -> float:
  """Returns that of a fraction of independent images, the binomial's."""
  return math.sqrt(fraction * (1 - fraction) / count)


def newest(found: Iterable[dict]) -> list[dict]:
  """Returns the lines of evaluations, of equal measurements the last alone."""
  evaluated = [line for line in found if line["job"] == "evaluate" and "remark" in line]
  return last(evaluated, "details", "metric")


def last(found: Sequence[dict], *names: str) -> list[dict]:
  """Returns of the lines that are equal in these fields the last, where it stands."""
  kept: dict[tuple, dict] = {}
  for line in reversed(found):
    kept.setdefault(tuple(line.get(name) for name in names), line)
  return list(reversed(kept.values()))


def _leaves(
  predictor: contracts.Predictor, share: Fraction
) -> Iterator[tuple[contracts.Predictor, str]]:
  """Yields what is no mean itself, and its share; "" where a mean does not tell its parts."""
  members = getattr(predictor, "members", None)
  if members is None:
    yield predictor, str(share)
  elif hasattr(predictor, "parts"):
    for part in predictor.parts:
      yield from _leaves(part, share / len(predictor.parts))
  else:
    yield from ((one, "") for one in members if not hasattr(one, "members"))
