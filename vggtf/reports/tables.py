"""Tables 3 to 6 of the paper with our measurements beside its own.

A measurement stands beside the paper's row of the same nets, S, Q and techniques if its options and
its weights are the paper's too. All others follow under the table that they belong to and say what
is other; so do those of earlier versions, which kept neither options nor weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from vggtf.reports import measurement, paper

_COLUMNS = (
  "net",
  "S",
  "Q",
  "technique",
  "paper top-1",
  "paper top-5",
  "our top-1",
  "our top-5",
  "measured on",
  "run",
)
_WORDS = {paper.DENSE: "dense", paper.CROPS: "multi-crop"}
_NONE = "-"


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of texts; a row has as many as there are columns."""

  title: str
  columns: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  note: str


class _Ours(NamedTuple):
  """A measurement: the nets as the paper describes them, what is other, and its lines by metric."""

  nets: tuple[paper.Net, ...]
  other: str
  lines: dict[str, dict]


def gather(found: Iterable[dict]) -> list[Table]:
  """Returns the tables, those without any measurement of ours included.

  Args:
    found: lines of results.jsonl, of any number of runs.
  """
  ours = _read(found)
  kinds = [
    ("Table 3: one net at one scale, dense", paper.TABLE_3, _is_single),
    ("Table 4: one net at several scales, dense", paper.TABLE_4, _is_multi_scale),
    ("Table 5: dense and multi-crop evaluation", paper.TABLE_5, _is_technique),
    ("Table 6: several nets", paper.TABLE_6, lambda one: len(one.nets) > 1),
  ]
  tables = [_table(title, rows, [o for o in ours if fits(o)]) for title, rows, fits in kinds]
  rest = [one for one in ours if not any(fits(one) for _, _, fits in kinds)]
  if rest:
    tables.append(_table("Other protocols", (), rest))
  return tables


def _is_single(ours: _Ours) -> bool:
  (net, *others) = ours.nets
  return not others and net.techniques == (paper.DENSE,) and len(net.scales) == 1


def _is_multi_scale(ours: _Ours) -> bool:
  (net, *others) = ours.nets
  return not others and net.techniques == (paper.DENSE,) and len(net.scales) > 1


def _is_technique(ours: _Ours) -> bool:
  """Whether it belongs to table 5, which has dense rows for its own nets alone."""
  (net, *others) = ours.nets
  if others or len(net.scales) < 2 or not set(net.techniques) <= {paper.DENSE, paper.CROPS}:
    return False
  return paper.CROPS in net.techniques or any(row.nets == ours.nets for row in paper.TABLE_5)


def _read(found: Iterable[dict]) -> list[_Ours]:
  groups: dict[str, dict[str, dict]] = {}
  for line in measurement.newest(found):
    groups.setdefault(line["details"], {})[line["metric"]] = line
  ours = [
    _Ours(tuple(map(_net, nets)), _tell_other(nets), lines)
    for lines in groups.values()
    if {"top1_error", "top5_error"} <= lines.keys()
    for nets in [lines["top1_error"]["nets"]]
  ]
  return sorted(ours, key=lambda one: _cells(one.nets))


def _net(net: dict) -> paper.Net:
  views = {(view.technique, view.scale) for view in measurement.views(net)}
  techniques = tuple(sorted({technique for technique, _ in views}))
  scales = tuple(sorted({scale for _, scale in views}))
  if len(views) < len(techniques) * len(scales):  # not every technique at every scale
    techniques, scales = tuple(f"{name} at {scale}" for name, scale in sorted(views)), ()
  trained_at = net["trained_at"] and tuple(net["trained_at"])
  return paper.Net(net["net"], trained_at, scales, techniques)


def _tell_other(nets: Sequence[dict]) -> str:
  """Returns options and weights that are not the paper's, "" where all are."""
  views = [view for net in nets for view in measurement.views(net)]
  if not all(view.known for view in views):
    return "; options or weights unknown"
  options = {(view.technique, view.options) for view in views}
  told = [
    f"; {_spell_options(name, text)}"
    for name, text in sorted(options)
    if text != paper.OPTIONS.get(name, "")
  ]
  shares = {Fraction(view.share) for view in views}
  if len(shares) > 1:
    told.append(f"; weights from {min(shares)} to {max(shares)}")
  return "".join(told)


def _table(title: str, rows: Sequence[paper.Row], ours: Sequence[_Ours]) -> Table:
  drawn, left = [], list(ours)
  for row in rows:
    theirs = (*_cells(row.nets), _percent(row.top1), _theirs_top5(row))
    same = [one for one in ours if sorted(one.nets, key=str) == sorted(row.nets, key=str)]
    beside = [one for one in same if not one.other]
    drawn += [(*theirs, *_numbers(one)) for one in beside] or [(*theirs, *[_NONE] * 4)]
    left = [one for one in left if one not in beside]
  drawn += [(*_cells(one.nets), _NONE, _NONE, *_numbers(one)) for one in left]
  note = "Errors in percent; the paper's are of ILSVRC-2012's 50,000 validation images"
  if any(row.test_top5 for row in rows):
    note += " (in brackets: test set)"
  options = "; ".join(_spell_options(*pair) for pair in paper.OPTIONS.items())
  note += ", ours with one standard error. Ours say what is not as in the paper "
  return Table(title, _COLUMNS, tuple(drawn), f"{note}({options}; all of one weight).")


def _cells(nets: Sequence[paper.Net]) -> tuple[str, str, str, str]:
  """Returns what tells nets and their protocol; of several nets, what they share once."""
  columns = zip(
    *((net.net, _spell_s(net.trained_at), _spell(net.scales), _technique(net)) for net in nets),
    strict=True,
  )
  letters, *others = columns
  return (" + ".join(letters), *(" / ".join(dict.fromkeys(texts)) for texts in others))


def _numbers(ours: _Ours) -> tuple[str, str, str, str]:
  line = ours.lines["top1_error"]
  errors = [
    f"{_percent(100 * one['value'], 2)} ± {_percent(100 * one['standard_error'], 2)}"
    for one in (line, ours.lines["top5_error"])
  ]
  runs = dict.fromkeys(f"{net['run']} step {net['step']}" for net in line["nets"])
  data = f"{line['split']}, {line['count']:,} images of {line['data_sha256'][:8]}{line['remark']}"
  return *errors, data + ours.other, " + ".join(runs)


def _theirs_top5(row: paper.Row) -> str:
  return _percent(row.top5) + (f" ({_percent(row.test_top5)})" if row.test_top5 else "")


def _technique(net: paper.Net) -> str:
  return " & ".join(map(_spell_technique, net.techniques))


def _spell_technique(name: str) -> str:
  return _WORDS.get(name, name.replace("_", " "))


def _spell_options(technique: str, options: str) -> str:
  return f"{_spell_technique(technique)}: {options or 'no options'}"


def _spell(scales: Sequence[int]) -> str:
  return ",".join(map(str, scales)) or _NONE


def _spell_s(trained_at: tuple[int, int] | None) -> str:
  if trained_at is None:
    return "?"
  smallest, largest = trained_at
  return str(smallest) if smallest == largest else f"[{smallest};{largest}]"


def _percent(value: float, digits: int = 1) -> str:
  return f"{value:.{digits}f}"
