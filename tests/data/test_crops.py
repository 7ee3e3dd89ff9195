import numpy as np
import pytest
import tensorflow as tf

from data_tools import pixels
from tests import test_images
from vggtf import images
from vggtf.data import crops


def cases(kind: str):
  """Yields (image, scale, side, corner) of many sizes; every second corner is at a border."""
  random = np.random.RandomState(10)
  ends = np.array([0, 1 - 2.0**-24], np.float32)
  for seed in range(40):
    height, width = random.randint(30, 150, 2).tolist()
    shortest = min(height, width)
    scale = {
      "as stored": shortest,
      "smaller": random.randint(20, shortest),
      "larger": random.randint(shortest + 1, 200),
    }[kind]
    corner = ends[random.randint(0, 2, 2)] if seed % 2 else random.rand(2).astype(np.float32)
    yield (
      test_images.photograph_like(seed, height, width),
      scale,
      random.randint(8, scale + 1),
      corner,
    )


def cut_twice(encoded: bytes, size, scale: int, side: int, corner):
  """The crop from its window, and that from the whole picture."""
  whole = images.rescale(images.decode(encoded), scale).numpy()
  top, left = np.floor(corner * (np.array(whole.shape[:2]) - side + 1)).astype(int)
  crop = crops.locate(np.array([size]), np.array([scale]), corner[np.newaxis], side)
  crop = crops.Crop(*(tf.constant(column[0]) for column in crop))
  return crops.decode(encoded, crop, side).numpy(), whole[top : top + side, left : left + side]


@pytest.mark.parametrize("kind", ["smaller", "larger"])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_a_resampled_crop_is_that_of_the_whole_picture_but_for_rounding(kind, subsampling):
  apart = []
  for image, scale, side, corner in cases(kind):
    encoded = test_images.save(image, quality=95, subsampling=test_images.SUBSAMPLED[subsampling])
    apart.append(
      test_images.levels_apart(*cut_twice(encoded, image.shape[:2], scale, side, corner)).ravel()
    )
  apart = np.concatenate(apart)
  assert apart.max() <= 1
  assert apart.mean() < 2e-4  # levels that lie on the edge between two


def test_a_crop_at_the_stored_scale_is_that_of_the_whole_picture_to_the_bit():
  for image, scale, side, corner in cases("as stored"):
    encoded = pixels.encode(image, 95)
    crop, expected = cut_twice(encoded, image.shape[:2], scale, side, corner)
    np.testing.assert_array_equal(crop, expected)


def test_of_halved_chroma_only_the_outermost_columns_of_a_crop_differ():
  for image, scale, side, corner in cases("as stored"):
    encoded = test_images.save(image, quality=95, subsampling=test_images.SUBSAMPLED["4:2:0"])
    crop, expected = cut_twice(encoded, image.shape[:2], scale, side, corner)
    np.testing.assert_array_equal(crop[:, 1:-1], expected[:, 1:-1])


def test_a_crop_may_be_the_whole_of_a_square_picture():
  image = test_images.noise(11, 32, 32)
  crop, expected = cut_twice(pixels.encode(image, 95), (32, 32), 32, 32, np.float32([0.99, 0]))
  assert crop.shape == (32, 32, 3)
  np.testing.assert_array_equal(crop, expected)
