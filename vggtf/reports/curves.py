"""Curves as the numbers of an SVG drawing; the page's template writes the elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 360, 200  # of a drawing, which a phone shows at about its own size
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 350, 10, 176  # of the plot inside
_MOST = 300  # steps apart that a drawing can show; of more the extremes are kept
_DECADES = 1.7  # that values span, from which on the scale is logarithmic


class Line(NamedTuple):
  """A series: its name, its last value as text, and its points as SVG's `points`, a piece each."""

  name: str
  last: str
  pieces: tuple[str, ...]


class Chart(NamedTuple):
  """A drawing. Ticks are pairs of a position in the drawing and a text.

  missing: how many values are not finite; they are gaps.
  """

  title: str
  lines: tuple[Line, ...]
  across: tuple[tuple[float, str], ...]
  up: tuple[tuple[float, str], ...]
  logarithmic: bool
  missing: int


def draw(
  title: str,
  series: Mapping[str, Sequence[tuple[int, float]]],
  percent: bool = False,
) -> Chart | None:
  """Returns the chart of series by name, None where none has a finite value.

  Args:
    title: of the chart.
    series: points (step, value) in the order of steps.
    percent: whether values are fractions that are to be read as percent.
  """
  shown = {name: points for name, points in series.items() if points}
  finite = [(s, v) for points in shown.values() for s, v in points if math.isfinite(v)]
  if not finite:
    return None
  steps, values = zip(*finite, strict=True)
  low, high = min(values), max(values)
  logarithmic = low > 0 and math.log10(high / low) >= _DECADES
  ticks = _decades(low, high) if logarithmic else _even(min(low, 0.0), max(high, 0.0))
  scale: Callable[[float], float] = math.log10 if logarithmic else float
  bottom, top = (scale(value) for value in (min(ticks[0], low), max(ticks[-1], high)))
  first, last = min(steps), max(steps)

  def x(step: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * (step - first) / max(last - first, 1)

  def y(value: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * (scale(value) - bottom) / ((top - bottom) or 1)

  def line(name: str, points: Sequence[tuple[int, float]]) -> Line:
    pieces = [
      " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in _thin(piece))
      for piece in _pieces(points)
    ]
    return Line(name, _number(points[-1][1], percent), tuple(pieces))

  return Chart(
    title,
    tuple(line(*item) for item in shown.items()),
    tuple((round(x(s), 1), f"{s:,.0f}") for s in _even(first, last, 3) if first <= s <= last),
    tuple((round(y(value), 1), _number(value, percent)) for value in ticks),
    logarithmic,
    sum(map(len, shown.values())) - len(finite),
  )


def _pieces(points: Sequence[tuple[int, float]]) -> list[list[tuple[int, float]]]:
  """Returns the points between values that are not finite."""
  pieces: list[list[tuple[int, float]]] = [[]]
  for step, value in points:
    if math.isfinite(value):
      pieces[-1].append((step, value))
    elif pieces[-1]:
      pieces.append([])
  # A line from a point to itself is drawn as a dot, a single point not at all.
  return [piece if len(piece) > 1 else piece * 2 for piece in pieces if piece]


def _thin(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
  """Returns the lowest and the highest of each of a few hundred groups, in order."""
  size = -(-len(points) // _MOST)
  if size < 3:
    return list(points)
  kept = []
  for start in range(0, len(points), size):
    group = points[start : start + size]
    kept += sorted({min(group, key=lambda p: p[1]), max(group, key=lambda p: p[1])})
  return kept


def _even(low: float, high: float, about: int = 4) -> list[float]:
  """Returns round numbers at even distances from at most `low` to at least `high`."""
  distance = (high - low or abs(high) or 1.0) / about
  power = 10.0 ** math.floor(math.log10(distance))
  apart = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= distance * 0.999)
  return [
    round(apart * count, 12)
    for count in range(math.floor(low / apart + 1e-9), math.ceil(high / apart - 1e-9) + 1)
  ]


def _decades(low: float, high: float) -> list[float]:
  """Returns the powers of 10 from at most `low` to at least `high`, a few of them."""
  first = math.floor(math.log10(low) + 1e-6)  # a rate of 1e-4 is a little less as float32
  last = math.ceil(math.log10(high) - 1e-6)
  return [10.0**power for power in range(first, last + 1, max(1, (last - first) // 5))]


def _number(value: float, percent: bool) -> str:
  """Returns a value with 3 digits."""
  return f"{100 * value:.3g} %" if percent else f"{value:,.3g}" if value < 1e3 else f"{value:,.0f}"
