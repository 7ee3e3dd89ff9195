"""Pictures in data URIs, read back by Pillow."""

import base64
import io

import numpy as np
from PIL import Image

from tests import samples
from vggtf.reports import pictures


def read(uri, form):
  head, _, data = uri.partition(",")
  assert head == f"data:image/{form};base64"
  image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
  assert image.format == form.upper()
  return np.asarray(image)


def test_large_photos_are_shrunk_and_small_ones_kept():
  large, small = samples.paint(1, 300, 600), samples.paint(2, 30, 20)
  shrunk = read(pictures.photo(large, 100), "jpeg")
  assert shrunk.shape == (50, 100, 3)
  expected = Image.fromarray(large).resize((100, 50), Image.Resampling.BOX)
  assert np.abs(shrunk - np.asarray(expected, float)).mean() < 4
  kept = read(pictures.photo(small, 100), "jpeg")
  assert kept.shape == small.shape
  assert np.abs(kept.astype(float) - small).mean() < 8


def test_filters_share_one_scale_and_grey_is_0():
  weights = np.zeros((3, 3, 3, 5))
  weights[..., 1] = 0.2  # white, the largest
  weights[0, 2, 0, 4] = -0.2  # without red at one corner
  weights[..., 2] = 0.1
  sheet = read(pictures.filters(weights), "png")
  scale = sheet.shape[0] // 7  # two rows of 3 and a gap
  assert sheet.shape == (7 * scale, 15 * scale, 4)
  small = sheet[scale // 2 :: scale, scale // 2 :: scale]

  def filter_(row, column):
    return small[4 * row : 4 * row + 3, 4 * column : 4 * column + 3]

  np.testing.assert_array_equal(filter_(0, 0)[..., :3], 128)
  np.testing.assert_array_equal(filter_(0, 1), 255)
  np.testing.assert_array_equal(filter_(0, 2)[..., :3], 191)
  np.testing.assert_array_equal(filter_(1, 0)[0, 2], (0, 128, 128, 255))
  assert not small[3].any()  # between them nothing is drawn
  assert not small[:, 3, 3].any()
