"""Pure tensor functions on pictures: decode, rescale, crop, flip. RGB, uint8, 0..255 throughout.

Everything that the evaluation does to a picture is here, so that the exported SavedModel, which has
these ops in its graph, sees the pixels that were measured.
"""

from collections.abc import Mapping

import tensorflow as tf

from vggtf import schema

# A decoded picture, or one for each scale that it will be brought to, which stored sets have.
Picture = tf.Tensor | Mapping[int, tf.Tensor]

# libjpeg's accurate integer DCT; TensorFlow's default is up to 3 levels from other decoders.
DCT = "INTEGER_ACCURATE"
KERNEL = "keyscubic"  # the cubic of Pillow's BICUBIC and of tf.image.resize(antialias=True)
KERNEL_RADIUS = 2


def decode(encoded: tf.Tensor) -> tf.Tensor:
  """Returns uint8 [H, W, 3] of one encoded JPEG or PNG (grey and CMYK become RGB).

  EXIF orientation is ignored, as in all of ImageNet's tools. Raises InvalidArgumentError for
  anything that is not a whole picture.
  """
  return tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT)


def rescale(image: Picture, scale: int) -> tf.Tensor:
  """Returns uint8 [H', W', 3], isotropically rescaled to smallest side `scale` (section 3.1).

  Cubic, antialiased, rounded to levels; a picture of that scale already comes back unchanged.
  """
  if isinstance(image, Mapping):
    image = image[scale]
  size = tf.shape(image, out_type=tf.int64)[:2]
  shortest = tf.reduce_min(size)

  def resized():
    to = tf.cast(schema.scaled_side(size, shortest, tf.constant(scale, tf.int64)), tf.int32)
    return to_levels(tf.image.resize(image, to, method="bicubic", antialias=True))

  return tf.cond(tf.equal(shortest, scale), lambda: image, resized)


def to_levels(image: tf.Tensor) -> tf.Tensor:
  """Rounds and saturates float levels to uint8."""
  return tf.saturate_cast(tf.round(image), tf.uint8)


def crop_centre(image: tf.Tensor, side: int) -> tf.Tensor:
  """Returns the central [side, side, 3] of a picture whose sides are at least `side`."""
  size = tf.shape(image)
  cropped = tf.slice(image, [(size[0] - side) // 2, (size[1] - side) // 2, 0], [side, side, -1])
  return tf.ensure_shape(cropped, [side, side, 3])


def flip(images: tf.Tensor) -> tf.Tensor:
  """Mirrors left and right; [..., W, C]."""
  return tf.reverse(images, axis=[-2])


def shift_colours(image: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
  """Adds a number of levels to each colour of uint8 [H, W, 3], and saturates.

  Args:
    image: of known width.
    shift: int32 [3], -255 to 255.
  """
  width = image.shape[1]

  def row(levels):
    return tf.tile(tf.cast(levels, tf.uint8), [width])

  # In bytes and a row at a time: on floats, and on pixels of 3, this takes seven times as long.
  rows = tf.reshape(image, [-1, width * 3])
  rows = tf.clip_by_value(rows, row(tf.maximum(-shift, 0)), row(tf.minimum(255 - shift, 255)))
  return tf.reshape(rows + row(shift & 255), tf.shape(image))  # modulo 256
