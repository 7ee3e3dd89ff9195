"""Moments against Python's own whole numbers and numpy's float64."""

import numpy as np

from data_tools import statistics


def test_moments_are_the_sums():
  rgb = np.random.default_rng(0).integers(0, 256, (17, 23, 3), np.uint8)
  r, g, b = (rgb[..., channel].reshape(-1).tolist() for channel in range(3))
  moments = statistics.measure(rgb)
  assert moments.pixels == 17 * 23
  assert moments.sums == (sum(r), sum(g), sum(b))
  pairs = ((r, r), (r, g), (r, b), (g, g), (g, b), (b, b))
  assert moments.products == tuple(
    sum(x * y for x, y in zip(one, other, strict=True)) for one, other in pairs
  )


def test_addition_is_exact_in_any_order():
  random = np.random.default_rng(1)
  parts = [statistics.measure(random.integers(0, 256, (9, 9, 3), np.uint8)) for _ in range(20)]
  forwards = sum(parts, start=statistics.Moments())
  backwards = sum(reversed(parts), start=statistics.Moments())
  assert forwards == backwards
  assert forwards.summarize() == backwards.summarize()


def test_summary_equals_numpy():
  rgb = np.random.default_rng(2).integers(0, 256, (50, 40, 3), np.uint8)
  summary = statistics.measure(rgb).summarize()
  flat = rgb.reshape(-1, 3).astype(np.float64)
  np.testing.assert_allclose(summary.mean_rgb, flat.mean(axis=0), rtol=1e-14)
  np.testing.assert_allclose(summary.covariance_rgb, np.cov(flat.T, bias=True), rtol=1e-11)


def test_constant_colour_has_no_variance_at_all():
  rgb = np.full((300, 300, 3), (255, 254, 1), np.uint8)
  summary = statistics.measure(rgb).summarize()
  assert summary.mean_rgb == (255, 254, 1)
  assert summary.covariance_rgb == ((0, 0, 0),) * 3


def test_nothing_has_no_statistics():
  assert statistics.Moments().summarize() is None


def test_sums_beyond_64_bits_stay_exact():
  many = statistics.Moments(10**18, (3 * 10**18 + 1, 0, 0), (9 * 10**18 + 7, 0, 0, 0, 0, 0))
  total = sum([many] * 100, start=statistics.Moments())
  assert total.sums[0] == 3 * 10**20 + 100
  assert total.products[0] == 9 * 10**20 + 700
