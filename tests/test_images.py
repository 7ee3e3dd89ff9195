import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_tools import pixels
from tests import samples
from vggtf import images

SUBSAMPLED = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def photograph_like(seed: int, height: int, width: int) -> np.ndarray:
  """As many edges as a photograph has: a new colour every six pixels."""
  coarse = np.random.RandomState(seed).randint(0, 256, (height // 6 + 2, width // 6 + 2, 3))
  small = Image.fromarray(coarse.astype(np.uint8))
  return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def noise(seed: int, height: int, width: int) -> np.ndarray:
  return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def save(image, format_: str = "JPEG", **options) -> bytes:
  image = image if isinstance(image, Image.Image) else Image.fromarray(image)
  buffer = io.BytesIO()
  image.save(buffer, format_, **options)
  return buffer.getvalue()


def decode_by_pillow(encoded: bytes) -> np.ndarray:
  return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def levels_apart(one, other) -> np.ndarray:
  return np.abs(np.asarray(one, np.int64) - np.asarray(other, np.int64))


@pytest.mark.parametrize("subsampling", SUBSAMPLED)
@pytest.mark.parametrize("quality", [30, 95, 100])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_decoded_as_by_pillow_to_the_bit(subsampling, quality, progressive):
  for size in ((17, 33), (64, 64), (101, 99)):
    encoded = save(
      photograph_like(1, *size),
      quality=quality,
      subsampling=SUBSAMPLED[subsampling],
      progressive=progressive,
    )
    np.testing.assert_array_equal(images.decode(encoded), decode_by_pillow(encoded))


@pytest.mark.parametrize(
  ("mode", "format_"),
  [("L", "JPEG"), ("CMYK", "JPEG")] + [(mode, "PNG") for mode in ("RGB", "L", "P", "RGBA", "1")],
)
def test_other_colours_become_rgb_as_in_pillow(mode, format_):
  encoded = save(Image.fromarray(photograph_like(2, 33, 41)).convert(mode), format_)
  decoded = images.decode(encoded)
  assert decoded.shape == (33, 41, 3)
  np.testing.assert_array_equal(decoded, decode_by_pillow(encoded))


@pytest.mark.parametrize(
  "damage",
  [lambda e: b"", lambda e: e[: len(e) // 2], lambda e: e[:-2], lambda e: b"garbage" * 9],
)
def test_what_is_no_whole_picture_is_refused(damage):
  with pytest.raises(tf.errors.InvalidArgumentError):
    images.decode(damage(save(photograph_like(3, 40, 40))))


def interpolation(size: int, to: int) -> np.ndarray:
  """Float64 [to, size]: Keys' cubic (a = -1/2), as wide as a source pixel or a target pixel."""
  ratio = size / to
  width = max(1.0, ratio)
  centres = (np.arange(to) + 0.5) * ratio - 0.5
  t = np.abs(centres[:, None] - np.arange(size)) / width
  inner, outer = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
  weights = np.where(t < 1, inner, np.where(t < 2, outer, 0.0))
  return weights / weights.sum(axis=1, keepdims=True)


SIZES_AND_SCALES = [(57, 33, 32), (33, 57, 40), (101, 75, 24), (40, 61, 64), (375, 500, 256)]


@pytest.mark.parametrize("paint", [samples.paint, photograph_like, noise])
@pytest.mark.parametrize(("height", "width", "scale"), SIZES_AND_SCALES)
def test_rescaling_is_cubic_interpolation_rounded_to_levels(paint, height, width, scale):
  image = paint(4, height, width)
  found = images.rescale(image, scale)
  rows, columns = (interpolation(*pair) for pair in zip((height, width), found.shape, strict=False))
  exact = np.einsum("yh,hwc,xw->yxc", rows, image.astype(np.float64), columns, optimize=True)
  assert found.dtype == tf.uint8
  assert np.abs(found.numpy() - np.clip(exact, 0, 255)).max() < 0.505  # half a level, and float32


@pytest.mark.parametrize(
  ("paint", "rms", "largest"), [(samples.paint, 0.5, 1), (photograph_like, 0.5, 8)]
)
@pytest.mark.parametrize(("height", "width", "scale"), SIZES_AND_SCALES)
def test_rescaling_is_near_pillow_which_rounds_and_clips_twice(
  paint, rms, largest, height, width, scale
):
  image = paint(5, height, width)
  apart = levels_apart(images.rescale(image, scale), pixels.rescale(image, scale))
  assert np.sqrt((apart**2).mean()) < rms
  assert apart.max() <= largest


def test_the_smallest_side_becomes_exactly_the_scale():
  random = np.random.RandomState(6)
  for height, width, scale in random.randint(15, 120, (40, 3)).tolist():
    found = images.rescale(np.zeros((height, width, 3), np.uint8), scale)
    assert min(found.shape[:2]) == scale
    assert found.shape == pixels.rescale(np.zeros((height, width, 3), np.uint8), scale).shape


def test_a_picture_of_that_scale_comes_back_unchanged():
  for size in ((32, 45), (45, 32), (32, 32)):
    image = noise(7, *size)
    np.testing.assert_array_equal(images.rescale(image, 32), image)


def test_levels_are_rounded_and_saturated():
  levels = images.to_levels(tf.constant([-1e9, -0.6, 0.4, 0.6, 254.4, 255.6, 1e9]))
  assert levels.numpy().tolist() == [0, 0, 0, 1, 254, 255, 255]


@pytest.mark.parametrize("size", [(32, 32), (33, 32), (32, 35), (41, 60)])
def test_the_centre_is_cut(size):
  image = noise(8, *size)
  top, left = (size[0] - 32) // 2, (size[1] - 32) // 2
  cropped = images.crop_centre(image, 32)
  np.testing.assert_array_equal(cropped, image[top : top + 32, left : left + 32])


def test_colours_are_shifted_by_levels_and_saturate():
  image = np.stack([np.arange(256, dtype=np.uint8)] * 3, -1).reshape(8, 32, 3)
  for shift in ([0, 0, 0], [1, -1, 255], [-255, 100, -7], [5, -128, 254]):
    expected = np.clip(image.astype(int) + shift, 0, 255)
    np.testing.assert_array_equal(images.shift_colours(image, tf.constant(shift)), expected)


def test_flipping_mirrors_left_and_right_of_one_or_many():
  batch = noise(9, 6, 20).reshape(2, 6, 10, 3)
  np.testing.assert_array_equal(images.flip(batch), batch[:, :, ::-1])
  np.testing.assert_array_equal(images.flip(batch[0]), np.fliplr(batch[0]))
