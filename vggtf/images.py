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
_DCT = "INTEGER_ACCURATE"
_KERNEL = "keyscubic"  # the cubic of Pillow's BICUBIC and of tf.image.resize(antialias=True)
_KERNEL_RADIUS = 2


def decode(encoded: tf.Tensor) -> tf.Tensor:
  """Returns uint8 [H, W, 3] of one encoded JPEG or PNG (grey and CMYK become RGB).

  EXIF orientation is ignored, as in all of ImageNet's tools. Raises InvalidArgumentError for
  anything that is not a whole picture.
  """
  return tf.io.decode_jpeg(encoded, channels=3, dct_method=_DCT)


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


def decode_crop(
  encoded: tf.Tensor, size: tf.Tensor, scale: tf.Tensor, corner: tf.Tensor, side: int
) -> tf.Tensor:
  """Cuts a crop from a rescaled picture without decoding or resizing the rest of it.

  The result is that of decode -> rescale to `scale` -> crop at `corner`: the window that the crop
  was made from is decoded, with a margin as wide as the kernel, and resampled at the same
  sub-pixel positions.

  Args:
    encoded: a JPEG. Of halved chroma (originals; the converter writes 4:4:4), the outermost columns
      of a crop at the stored scale have their colour from inside the window alone.
    size: int64 [2], its height and width.
    scale: int64, the smallest side that the crop is taken at.
    corner: float32 [2] in [0, 1): where the crop lies between the top left and bottom right.
    side: the crop's side in pixels, at most `scale`.

  Returns:
    uint8 [side, side, 3].
  """
  shortest = tf.reduce_min(size)
  rescaled = schema.scaled_side(size, shortest, scale)
  start = tf.cast(corner * tf.cast(rescaled - side + 1, tf.float32), tf.int64)

  def window_as_stored():
    window = tf.cast(tf.concat([start, [side, side]], 0), tf.int32)
    return tf.image.decode_and_crop_jpeg(encoded, window, channels=3, dct_method=_DCT)

  def window_resampled():
    ratio = tf.cast(rescaled, tf.float32) / tf.cast(size, tf.float32)
    margin = 1.0 + _KERNEL_RADIUS * tf.maximum(1.0, 1.0 / ratio)
    first = tf.cast(tf.floor(tf.cast(start, tf.float32) / ratio - margin), tf.int64)
    end = tf.cast(tf.math.ceil(tf.cast(start + side, tf.float32) / ratio + margin), tf.int64)
    first, end = tf.maximum(first, 0), tf.minimum(end, size)
    window = tf.image.decode_and_crop_jpeg(
      encoded, tf.cast(tf.concat([first, end - first], 0), tf.int32), channels=3, dct_method=_DCT
    )
    resampled = tf.raw_ops.ScaleAndTranslate(
      images=tf.cast(window[tf.newaxis], tf.float32),
      size=[side, side],
      scale=ratio,
      translation=tf.cast(first, tf.float32) * ratio - tf.cast(start, tf.float32),
      kernel_type=_KERNEL,
      antialias=True,
    )
    return to_levels(resampled[0])

  crop = tf.cond(tf.equal(shortest, scale), window_as_stored, window_resampled)
  return tf.ensure_shape(crop, [side, side, 3])
