"""Requests of strangers: refused by a text, before a pixel is decoded."""

import struct

import numpy as np
import pytest
import tensorflow as tf

from tests import samples
from tests.export import nets
from vggtf import errors
from vggtf.export import limits

PIXELS = samples.paint(0, 40, 61)
JPEG, PNG = nets.encode(PIXELS), nets.encode(PIXELS, "PNG")


@pytest.fixture(scope="module")
def check():
  bounds = limits.Limits(images=3, pixels=1_000_000, scanned_pixels=100_000)
  files = tf.TensorSpec([None], tf.string)
  return tf.function(bounds.check_encoded, input_signature=[files])


def jpeg_of(height: int, width: int) -> bytes:
  """Returns a JPEG whose header says so; its scan does not."""
  frame = JPEG.index(b"\xff\xc0")
  return JPEG[: frame + 5] + struct.pack(">HH", height, width) + JPEG[frame + 9 :]


def png_of(width: int, height: int) -> bytes:
  return PNG[:16] + struct.pack(">II", width, height) + PNG[24:]


def many_scans() -> bytes:
  progressive = nets.encode(PIXELS, progressive=True)
  last = progressive[progressive.rindex(b"\xff\xda") : -2]
  return progressive[:-2] + last * 40 + progressive[-2:]


def test_sizes_are_those_that_headers_say(check):
  progressive = nets.encode(PIXELS, progressive=True)
  grey = nets.encode(PIXELS[..., 0], "PNG")
  files, sizes = check(tf.constant([JPEG, PNG, progressive]))
  assert files.numpy().tolist() == [JPEG, PNG, progressive]
  np.testing.assert_array_equal(sizes, [[40, 61]] * 3)
  np.testing.assert_array_equal(check(tf.constant([grey]))[1], [[40, 61]])
  files, sizes = check(tf.constant([], tf.string))
  assert (files.shape, sizes.shape) == ((0,), (0, 2))


@pytest.mark.parametrize(
  ("files", "text"),
  [
    ([JPEG, b""], "image 1 of the request is neither JPEG nor PNG; it has 0 bytes"),
    ([b"GIF89a, or so"], "image 0 of the request is neither JPEG nor PNG; it has 13 bytes"),
    ([nets.encode(PIXELS, "WEBP")], "neither JPEG nor PNG"),
    ([nets.encode(PIXELS, "BMP")], "neither JPEG nor PNG"),
    ([JPEG] * 4, "4 images in a request; this model takes 3 at most"),
    ([jpeg_of(65500, 65500)], "has 65500x65500 pixels; this model takes 1,000,000 at most"),
    ([png_of(60000, 60001)], "has 60001x60000 pixels; this model takes 1,000,000 at most"),
    ([png_of(2**31 + 5, 7)], "has no pixels"),  # as a signed number
    ([png_of(0, 7)], "has no pixels: 7x0"),
    ([PNG[:12]], "has no pixels: 0x0"),
    ([jpeg_of(1, 11)], "has 1x11 pixels; no side may be more than 10 times the other"),
    ([png_of(10, 101)], "has 101x10 pixels; no side may be more than 10 times the other"),
    ([many_scans()], "has 50 scans of 40x61 pixels: too much to decode"),
    ([JPEG[:100]], "Invalid JPEG data, size 100"),
    ([b"\xff\xd8\xff"], "Invalid JPEG data, size 3"),
  ],
)
def test_what_is_no_picture_to_decode_is_refused(check, files, text):  # S5
  with pytest.raises(tf.errors.InvalidArgumentError, match=text):
    check(tf.constant(files))


def test_pixels_are_bounded_too():
  bounds = limits.Limits(images=2, pixels=1000)
  check = tf.function(
    bounds.check_decoded, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)]
  )
  np.testing.assert_array_equal(check(PIXELS[np.newaxis, :20, :20]), PIXELS[np.newaxis, :20, :20])
  for shape, text in (
    ((3, 8, 8, 3), "3 images in a request; this model takes 2 at most"),
    ((1, 0, 8, 3), "each image has no pixels: 0x8"),
    ((1, 32, 32, 3), "each image has 32x32 pixels; this model takes 1,000 at most"),
    ((1, 50, 4, 3), "no side may be more than 10 times the other"),
  ):
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
      check(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("bound", [0, -1, 2.5, "many"])
def test_a_bound_is_a_whole_number(bound):
  with pytest.raises(errors.UsageError, match=rf"Limits.together = {bound!r}: expected a whole"):
    limits.Limits(together=bound)
