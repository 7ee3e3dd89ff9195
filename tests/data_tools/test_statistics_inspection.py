"""JPEG's own changes pass, others do not."""

import dataclasses

import numpy as np
import pytest

from data_tools import pixels, statistics
from data_tools.statistics_inspection import compare


@pytest.fixture
def rgb(paint):
  return paint(3, 90, 120)


def summarize(rgb):
  return statistics.measure(rgb).summarize()


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_encoding_is_no_difference(rgb, quality):
  stored = pixels.decode_stored(pixels.encode(rgb, quality))
  assert not np.array_equal(stored, rgb)
  assert list(compare(summarize(stored), summarize(rgb))) == []


@pytest.mark.parametrize("quality", [30, 95])
def test_encoded_noise_is_no_difference(quality):
  """The worst case for a codec."""
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  smooth = (noise // 4 + 96).astype(np.uint8)
  stored = pixels.decode_stored(pixels.encode(smooth, quality))
  found = list(compare(summarize(stored), summarize(smooth)))
  assert not found or quality < 95  # such a quality takes noise away, and that is seen


@pytest.mark.parametrize("change", [lambda x: x // 2, lambda x: x[..., ::-1], lambda x: x[1:]])
def test_other_pixels_are_a_difference(rgb, change):
  found = list(compare(summarize(np.ascontiguousarray(change(rgb))), summarize(rgb)))
  assert len(found) == 1
  assert "or covariances that differ" in found[0]


@pytest.mark.parametrize(
  "change",
  [
    lambda s: {"eigenvectors": s.eigenvectors[::-1]},
    lambda s: {"eigenvalues": s.eigenvalues[::-1]},
    lambda s: {"eigenvectors": tuple(tuple(2 * x for x in row) for row in s.eigenvectors)},
    lambda s: {"eigenvalues": s.eigenvalues[::-1], "eigenvectors": s.eigenvectors[::-1]},
  ],
)
def test_foreign_eigenvectors_are_a_difference(rgb, change):
  found = summarize(rgb)
  (problem,) = compare(found, dataclasses.replace(found, **change(found)))
  assert "eigenvectors of another covariance" in problem


def test_grey_images_have_two_axes_without_length(paint):
  grey = summarize(np.repeat(paint(3, 40, 50)[..., :1], 3, axis=2))
  assert list(compare(grey, grey)) == []


def test_statistics_of_nothing(rgb):
  assert list(compare(None, None)) == []
  assert len(list(compare(None, summarize(rgb)))) == len(list(compare(summarize(rgb), None))) == 1
