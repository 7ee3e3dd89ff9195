"""What training sees of an image (section 3.1): scale S, random crop, flip, colour shift."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vggtf import errors, images, manifest
from vggtf.data import crops

# Which of an image's uniform numbers decides what.
_SCALE, _CORNER, _FLIP, _COLOUR = 0, slice(1, 3), 3, slice(4, 10)


class View(NamedTuple):
  """What is seen of images: numpy arrays of N, or tensors of one.

  crop: where it lies. mirrored: bool [N]. shift: int32 [N, 3], levels added to the colours.
  """

  crop: crops.Crop
  mirrored: tf.Tensor
  shift: tf.Tensor


SPEC = View(crops.SPEC, tf.TensorSpec([], tf.bool), tf.TensorSpec([3], tf.int32))


class ColourShift:
  """Adds a random colour along the principal components of the training set's RGB pixels.

  shift = sum over i of v_i a_i s_i, a_i ~ N(0, std) (Krizhevsky 2012, which section 3.1 refers to).
  How long a component is, they leave open: "root" takes s = sqrt(eigenvalue), the component's
  standard deviation (MatConvNet); "eigenvalue" takes s = the eigenvalue of pixels in 0..1, in units
  of 255 (Torch's ResNet code), half as strong on ImageNet. See docs/fidelity.md.

  Args:
    eigenvalues: [3], of the covariance of RGB pixels in levels of 0..255; the manifest's.
    eigenvectors: [3][3], a row each.
    std: of the random factors.
    length: "root" or "eigenvalue".
  """

  def __init__(
    self,
    eigenvalues: Sequence[float],
    eigenvectors: Sequence[Sequence[float]],
    std: float = 0.1,
    length: str = "root",
  ):
    values = np.maximum(eigenvalues, 0)  # of grey pictures two are 0, give or take rounding
    lengths = {"root": np.sqrt(values), "eigenvalue": values / 255.0}
    scaled = np.transpose(eigenvectors) * errors.choose("ColourShift.length", length, lengths)
    self._axes = scaled * std

  def __call__(self, uniform: np.ndarray) -> np.ndarray:
    """Returns int32 [N, 3], whole levels, for float32 [N, 6] in [0, 1)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform[:, :3].astype(np.float64)))  # Box-Muller
    normal = radius * np.cos(2.0 * math.pi * uniform[:, 3:])
    shift = np.rint(normal @ self._axes.T)
    return np.clip(shift, -255, 255).astype(np.int32)  # more than all levels is no more


class TrainView:
  """A random view: S ~ U[scale_min, scale_max], a crop of the image at S, a flip, a colour shift.

  Args:
    statistics: of the training set.
    scale_min: smallest S, pixels; equal to `scale_max` for training at a fixed scale.
    scale_max: largest S.
    padding: pixels that crops may reach beyond the picture at S, which is mirrored there; 0 in the
      paper. For small pictures, whose crops have no other room to move in.
    flip: whether half of the crops are mirrored. Not for digits.
    colour_shift: makes a `ColourShift` from the set's eigenvalues and eigenvectors; None for none.
  """

  def __init__(
    self,
    statistics: manifest.Statistics,
    scale_min: int = 256,
    scale_max: int = 256,
    padding: int = 0,
    flip: bool = True,
    colour_shift: Callable[..., ColourShift] | None = None,
  ):
    if not 0 < scale_min <= scale_max:
      raise errors.UsageError(
        f"TrainView.scale_min = {scale_min}, scale_max = {scale_max}: expected 0 < min <= max"
      )
    if padding < 0:
      raise errors.UsageError(f"TrainView.padding = {padding}: expected 0 or more pixels")
    self.scale_min, self.scale_max, self.padding = scale_min, scale_max, padding
    self._flip = flip
    self._colour_shift = colour_shift and colour_shift(
      statistics.eigenvalues, statistics.eigenvectors
    )

  def scales(self, uniform: np.ndarray) -> np.ndarray:
    """Returns int64 [N], S of each image, from their uniform numbers (float32 [N, DRAWS])."""
    count = np.float32(self.scale_max - self.scale_min + 1)
    return self.scale_min + (uniform[:, _SCALE] * count).astype(np.int64)

  def choose(self, size: np.ndarray, scale: np.ndarray, uniform: np.ndarray, side: int) -> View:
    """Returns what is seen of stored pictures, as numpy arrays.

    Args:
      size: int64 [N, 2], their heights and widths.
      scale: int64 [N], S of each.
      uniform: float32 [N, DRAWS], their uniform numbers.
      side: of the crops, pixels.
    """
    crop = crops.locate(size, scale, uniform[:, _CORNER], side, self.padding)
    mirrored = (uniform[:, _FLIP] < 0.5) & self._flip
    if self._colour_shift:
      return View(crop, mirrored, self._colour_shift(uniform[:, _COLOUR]))
    return View(crop, mirrored, np.zeros((len(size), 3), np.int32))

  def show(self, encoded: tf.Tensor, view: View, side: int) -> tf.Tensor:
    """Returns uint8 [side, side, 3], what is seen of a JPEG."""
    image = crops.decode(encoded, view.crop, side, self.padding)
    if self._flip:
      image = tf.cond(view.mirrored, lambda: images.flip(image), lambda: image)
    if self._colour_shift:
      image = images.shift_colours(image, view.shift)
    return image
