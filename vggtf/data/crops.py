"""Crops of rescaled pictures, made without decoding or resampling the rest of them.

What comes out is that of decode -> rescale -> crop: the window that the crop is made of is decoded,
with a margin as wide as the kernel, and resampled at the same sub-pixel positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vggtf import images, schema


class Crop(NamedTuple):
  """Where crops lie in stored pictures: numpy arrays of N, or tensors of one.

  window: int32 [N, 4], what is decoded: top, left, height, width.
  ratio: float32 [N, 2], of the rescaled picture's sides to the stored one's; 1 where it is stored
    at this scale, and the window is the crop.
  offset: float32 [N, 2], from the crop's corner to the window's, in rescaled pixels.
  beyond: int32 [N, 2], by how much the crop lies farther down and right than the picture has room
    for; less than 0 for up and left.
  """

  window: tf.Tensor
  ratio: tf.Tensor
  offset: tf.Tensor
  beyond: tf.Tensor


SPEC = Crop(
  tf.TensorSpec([4], tf.int32),
  tf.TensorSpec([2], tf.float32),
  tf.TensorSpec([2], tf.float32),
  tf.TensorSpec([2], tf.int32),
)


def locate(
  size: np.ndarray, scale: np.ndarray, corner: np.ndarray, side: int, padding: int = 0
) -> Crop:
  """Returns where crops of `side` pixels lie, as numpy arrays.

  Args:
    size: int64 [N, 2], the stored pictures' heights and widths.
    scale: int64 [N], the smallest side that each is rescaled to; at least `side`.
    corner: float32 [N, 2] in [0, 1): where the crop lies between the top left and bottom right.
    side: of the crops, pixels.
    padding: how far crops may reach beyond the rescaled picture, pixels.
  """
  rescaled = schema.scaled_side(size, size.min(axis=1, keepdims=True), scale[:, np.newaxis])
  room = rescaled - side
  drawn = (corner * (room + 2 * padding + 1).astype(np.float32)).astype(np.int64) - padding
  start = np.clip(drawn, 0, room)
  ratio = rescaled.astype(np.float32) / size.astype(np.float32)
  margin = 1 + images.KERNEL_RADIUS * np.maximum(1, 1 / ratio)
  first = np.maximum(np.floor(start / ratio - margin).astype(np.int64), 0)
  end = np.minimum(np.ceil((start + side) / ratio + margin).astype(np.int64), size)
  stored = (rescaled == size).all(axis=1, keepdims=True)
  first, end = np.where(stored, start, first), np.where(stored, start + side, end)
  window = np.concatenate([first, end - first], axis=1).astype(np.int32)
  offset = first.astype(np.float32) * ratio - start.astype(np.float32)
  return Crop(window, ratio, offset, (drawn - start).astype(np.int32))


def decode(encoded: tf.Tensor, crop: Crop, side: int, padding: int = 0) -> tf.Tensor:
  """Returns uint8 [side, side, 3], the crop of a JPEG, mirrored beyond the edges of its picture.

  Of halved chroma (originals; the converter writes 4:4:4), the outermost columns of a crop at the
  stored scale have their colour from inside the window alone.
  """
  pixels = decode_window(encoded, crop)
  pixels = tf.cond(
    tf.reduce_all(tf.equal(crop.ratio, 1)), lambda: pixels, lambda: _resample(pixels, crop, side)
  )
  pixels = tf.ensure_shape(pixels, [side, side, 3])
  if not padding:
    return pixels
  pixels = tf.pad(pixels, [[padding, padding], [padding, padding], [0, 0]], "REFLECT")
  return tf.slice(pixels, tf.concat([crop.beyond + padding, [0]], 0), [side, side, 3])


def decode_window(encoded: tf.Tensor, crop: Crop) -> tf.Tensor:
  """Returns uint8 [height, width, 3], the part of a JPEG that a crop is made of."""
  return tf.image.decode_and_crop_jpeg(encoded, crop.window, channels=3, dct_method=images.DCT)


def _resample(window: tf.Tensor, crop: Crop, side: int) -> tf.Tensor:
  """Returns uint8 [side, side, 3].

  TensorFlow's op is several times as fast from row to row as within one, so columns become rows in
  between; the levels are those of one call for both.
  """
  height, width = tf.unstack(tf.shape(window)[:2])
  rows = _resample_rows(tf.reshape(window, [height, width * 3]), crop, 0, side)
  columns = tf.transpose(tf.reshape(rows, [side, width, 3]), [1, 0, 2])
  columns = _resample_rows(tf.reshape(columns, [width, side * 3]), crop, 1, side)
  # As floats: of bytes that are transposed oneDNN complains where there is no AVX-512.
  return images.to_levels(tf.transpose(tf.reshape(columns, [side, side, 3]), [1, 0, 2]))


def _resample_rows(rows: tf.Tensor, crop: Crop, axis: int, side: int) -> tf.Tensor:
  """Returns float32 [side, C] of [H, C]: each row as a picture's one pixel of C channels."""
  resampled = tf.raw_ops.ScaleAndTranslate(
    images=rows[tf.newaxis, :, tf.newaxis],
    size=[side, 1],
    scale=tf.stack([crop.ratio[axis], 1.0]),
    translation=tf.stack([crop.offset[axis], 0.0]),
    kernel_type=images.KERNEL,
    antialias=True,
  )
  return resampled[0, :, 0]
