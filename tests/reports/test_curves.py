"""Drawn curves, read back as numbers."""

import math

import numpy as np
import pytest

from vggtf.reports import curves


def value_of(chart, y):
  """Returns what a height in the drawing means, by its ticks."""
  heights, texts = zip(*sorted(chart.up), strict=True)
  numbers = [float(text.removesuffix(" %").replace(",", "")) for text in texts]
  if chart.logarithmic:
    return 10 ** np.interp(y, heights, np.log10(numbers))
  return np.interp(y, heights, numbers)


def read(chart, line=0, piece=0):
  return [tuple(map(float, p.split(","))) for p in chart.lines[line].pieces[piece].split()]


def test_a_curve_goes_through_its_points():
  points = [(100, 2.5), (200, 1.0), (400, 0.25)]
  chart = curves.draw("loss", {"training": points, "validation": []})
  assert [line.name for line in chart.lines] == ["training"]
  assert chart.lines[0].last == "0.25"
  found = read(chart)
  np.testing.assert_allclose([value_of(chart, y) for _, y in found], [2.5, 1, 0.25], atol=0.02)
  (x1, x2, x3), _ = zip(*found, strict=True)
  assert (x2 - x1) / (x3 - x1) == pytest.approx(1 / 3, abs=1e-3)
  at, texts = zip(*chart.across, strict=True)
  assert texts == ("100", "200", "300", "400")
  assert (at[0], at[-1]) == (x1, x3)
  assert not chart.logarithmic
  assert all(0 <= x <= curves.WIDTH and 0 <= y <= curves.HEIGHT for x, y in found)


def test_what_spans_decades_is_logarithmic():
  rates = [(step, float(np.float32(10.0 ** -(2 + step // 10)))) for step in range(40)]
  chart = curves.draw("rate", {"rate": rates})
  assert chart.logarithmic
  assert [text for _, text in chart.up] == ["1e-05", "0.0001", "0.001", "0.01"]
  np.testing.assert_allclose([value_of(chart, y) for _, y in read(chart)][::13], [
    1e-2, 1e-3, 1e-4, 1e-5,
  ], rtol=0.02)  # fmt: skip
  share = curves.draw("wait", {"share": [(1, 0.0), (2, 0.5)]}, percent=True)
  assert not share.logarithmic  # 0 has no logarithm
  assert share.lines[0].last == "50 %"


def test_what_is_not_finite_is_a_gap_and_counted():
  values = [1.0, 2.0, math.nan, 3.0, math.inf]
  chart = curves.draw("loss", {"training": list(enumerate(values))})
  assert chart.missing == 2
  assert len(chart.lines[0].pieces) == 2
  assert len(read(chart, piece=0)) == 2
  first, again = read(chart, piece=1)  # a dot
  assert first == again
  assert curves.draw("loss", {"training": [(1, math.nan)]}) is None
  assert curves.draw("loss", {}) is None


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 1e-12])
def test_a_single_point_is_a_dot(value):
  chart = curves.draw("loss", {"training": [(5, value)]})
  assert read(chart)[0] == read(chart)[1]


def test_long_curves_keep_their_extremes():
  noise = np.random.RandomState(0).uniform(1, 2, 100_000)
  noise[77_777], noise[33_333] = 5.0, 0.0
  chart = curves.draw("loss", {"training": list(enumerate(noise))})
  found = read(chart)
  assert len(found) < 1000
  assert found == sorted(found, key=lambda point: point[0])
  heights = [value_of(chart, y) for _, y in found]
  assert max(heights) == pytest.approx(5, abs=0.03)
  assert min(heights) == pytest.approx(0, abs=0.03)
