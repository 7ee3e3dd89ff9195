"""Maps over photos against Pillow's own bilinear interpolation."""

import numpy as np
import pytest
from PIL import Image

from vggtf.reports import heat_map


def pillow(values, size, window):
  """Has Pillow interpolate between the windows' centres. It extends no edges: they are given."""
  height, width = size
  edge = 9
  padded = Image.fromarray(np.pad(values, edge, mode="edge").astype(np.float32))

  def across(count, length, share):
    """Returns scale and offset of the map's coordinates along an axis of the photo's."""
    if count == 1:
      return 0.0, edge + 0.5
    apart = (1 - share) * length / (count - 1)
    return 1 / apart, edge + 0.5 - share * length / 2 / apart

  y, x = (across(*axis) for axis in zip(values.shape, size, window, strict=True))
  affine = (x[0], 0, x[1], 0, y[0], y[1])
  kind = Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
  return np.asarray(padded.transform((width, height), *kind))


@pytest.mark.parametrize(
  ("shape", "size", "window"),
  [
    ((3, 5), (48, 83), (0.5, 0.3)),
    ((8, 11), (96, 131), (0.5, 224 / 597)),
    ((1, 4), (33, 70), (1.0, 0.4)),
    ((1, 1), (20, 30), (0.8, 0.9)),
    ((2, 1), (40, 31), (0.9, 1.0)),
  ],
)
def test_places_are_interpolated_between_what_they_see(shape, size, window):
  values = np.random.RandomState(sum(shape)).uniform(size=shape)
  found = heat_map.spread(values, size, window)
  assert (found.shape, found.dtype) == (size, np.float32)
  np.testing.assert_allclose(found, pillow(values, size, window), atol=1e-5)


def test_windows_that_tile_the_photo_are_a_plain_resize():
  values = np.random.RandomState(0).uniform(size=(4, 6)).astype(np.float32)
  found = heat_map.spread(values, (60, 90), (1 / 4, 1 / 6))
  resized = Image.fromarray(values).resize((90, 60), Image.Resampling.BILINEAR)
  np.testing.assert_allclose(found, np.asarray(resized), atol=1e-5)


def test_a_photo_is_tinted_alike_wherever_the_posterior_is():
  photo = np.random.RandomState(1).randint(0, 256, (600, 7, 3)).astype(np.uint8)
  heat = np.linspace(0, 1, 600, dtype=np.float32)[:, np.newaxis].repeat(7, axis=1)
  found = heat_map.overlay(photo, heat).astype(float)
  for at, colour in ((0, heat_map.COLOURS[0]), (599, heat_map.COLOURS[-1])):
    expected = 0.55 * np.array(colour) + 0.45 * photo[at]
    np.testing.assert_allclose(found[at], expected, atol=0.5)
  # In between the colour alone: what is left when the photo's part is taken away.
  tint = (found - 0.45 * photo) / 0.55
  assert np.ptp(tint, axis=1).max() < 2
  lightness = tint.mean(axis=1) @ (0.2126, 0.7152, 0.0722)
  assert (np.diff(lightness[::20]) > 0).all()  # it reads in grey, too
