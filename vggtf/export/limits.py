"""What a request to a server may ask for, checked in the graph before a pixel is decoded.

Who serves pictures from strangers is sent what is no picture, and small files that say they hold
gigapixels. Each is answered with INVALID_ARGUMENT and a text that says which image and why.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from vggtf import errors

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_SCAN = b"\xff\xda"  # before each scan of a JPEG


@dataclasses.dataclass(frozen=True)
class Limits:
  """Bounds of one request.

  images: how many; where a server batches, of a whole batch.
  pixels: of one image, by its header; 50 million are 150 MB decoded.
  aspect: longer side by shorter, which bounds an image that is rescaled to a smallest side.
  scanned_pixels: pixels times scans of one progressive JPEG, each of which visits all its
    pixels: 5 billion take about 7 seconds of one core.
  together: images of the net's input size that go through it at a time, which bounds memory; the
    others of a request wait.

  Raises:
    UsageError: one is not a whole number of at least 1.
  """

  images: int = 64
  pixels: int = 50_000_000
  aspect: int = 10
  scanned_pixels: int = 5_000_000_000
  together: int = 16

  def __post_init__(self):
    for name, bound in dataclasses.asdict(self).items():
      if not isinstance(bound, int) or bound < 1:
        raise errors.UsageError(f"Limits.{name} = {bound!r}: expected a whole number of at least 1")

  def admit(self, height: int, width: int) -> bool:
    """Returns whether a picture of one scan may have this size."""
    shorter, longer = sorted((height, width))
    return height * width <= min(self.pixels, self.scanned_pixels) and (
      longer <= self.aspect * shorter
    )

  def check_encoded(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Checks string [N], JPEG or PNG files.

    Returns:
      The same strings, to decode once they are checked, and int64 [N, 2], heights and widths.

    Raises:
      InvalidArgumentError: when it runs.
    """
    with tf.control_dependencies([self._check_count(tf.size(encoded))]):
      checked = tf.identity(encoded)
    return tf.map_fn(
      lambda image: self._check_image(*image),
      (checked, tf.range(tf.size(checked))),
      fn_output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64)),
    )

  def check_decoded(self, images: tf.Tensor) -> tf.Tensor:
    """Checks uint8 [N, H, W, 3] and returns it.

    Raises:
      InvalidArgumentError: when it runs.
    """
    count, height, width, _ = tf.unstack(tf.shape(images, out_type=tf.int64))
    checks = [self._check_count(count), *self._check_size("each image", height, width)]
    with tf.control_dependencies(checks):
      return tf.identity(images)

  def _check_count(self, count: tf.Tensor) -> tf.Operation:
    text = f"{{}} images in a request; this model takes {self.images} at most"
    return _assert(count <= self.images, text, count)

  def _check_image(self, encoded: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    head = tf.strings.join([tf.strings.substr(encoded, 0, 24), b"\0" * 24])  # never too short
    jpeg = tf.equal(tf.strings.substr(head, 0, len(_JPEG)), _JPEG)
    png = tf.equal(tf.strings.substr(head, 0, len(_PNG)), _PNG)
    text = "image {} of the request is neither JPEG nor PNG; it has {} bytes"
    with tf.control_dependencies([_assert(jpeg | png, text, index, tf.strings.length(encoded))]):
      height, width = tf.cond(jpeg, lambda: _jpeg_size(encoded), lambda: _png_size(head))
    scans = tf.cond(jpeg, lambda: _count_scans(encoded), lambda: tf.constant(1, tf.int64))
    checks = self._check_size("image {} of the request", height, width, index)
    scanned = "image {} of the request has {} scans of {}x{} pixels: too much to decode"
    work = height * width * scans
    checks.append(_assert(work <= self.scanned_pixels, scanned, index, scans, height, width))
    with tf.control_dependencies(checks):
      return tf.identity(encoded), tf.stack([height, width])

  def _check_size(
    self, what: str, height: tf.Tensor, width: tf.Tensor, *index: tf.Tensor
  ) -> list[tf.Operation]:
    empty = f"{what} has no pixels: {{}}x{{}}"
    many = f"{what} has {{}}x{{}} pixels; this model takes {self.pixels:,} at most"
    thin = f"{what} has {{}}x{{}} pixels; no side may be more than {self.aspect} times the other"
    shorter, longer = tf.minimum(height, width), tf.maximum(height, width)
    return [
      _assert(shorter > 0, empty, *index, height, width),
      _assert(height * width <= self.pixels, many, *index, height, width),
      _assert(longer <= self.aspect * shorter, thin, *index, height, width),
    ]


def _jpeg_size(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  size = tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64)
  return size[0], size[1]


def _png_size(head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Reads IHDR, which is always first: width and height from byte 16."""
  sides = tf.io.decode_raw(tf.strings.substr(head, 16, 8), tf.int32, little_endian=False)
  width, height = tf.unstack(tf.cast(sides, tf.int64), 2)
  return height, width


def _count_scans(encoded: tf.Tensor) -> tf.Tensor:
  """Returns at least as many as a JPEG has; its thumbnails' are counted too."""
  return tf.size(tf.strings.split(encoded, _SCAN), tf.int64) - 1


def _assert(condition: tf.Tensor, text: str, *values: tf.Tensor) -> tf.Operation:
  return tf.debugging.Assert(condition, [tf.strings.format(text, list(values))])
