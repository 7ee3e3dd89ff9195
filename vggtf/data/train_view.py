"""What training sees of an image (section 3.1): scale S, random crop, flip, colour shift."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from vggtf import errors, images, manifest

# Which of an image's uniform numbers decides what.
_SCALE, _ROW, _COLUMN, _FLIP, _COLOUR = 0, 1, 2, 3, slice(4, 10)


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
    self._axes = (scaled * std).astype(np.float32)

  def __call__(self, image: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Returns the uint8 image shifted, rounded and saturated; `uniform` is float32 [6]."""
    radius = tf.sqrt(-2.0 * tf.math.log1p(-uniform[:3]))  # Box-Muller
    normal = radius * tf.cos(2.0 * math.pi * uniform[3:])
    return images.to_levels(tf.cast(image, tf.float32) + tf.linalg.matvec(self._axes, normal))


class TrainView:
  """A random view: S ~ U[scale_min, scale_max], a crop of the image at S, a flip, a colour shift.

  Args:
    statistics: of the training set.
    scale_min: smallest S, pixels; equal to `scale_max` for training at a fixed scale.
    scale_max: largest S.
    flip: whether half of the crops are mirrored. Not for digits.
    colour_shift: makes a `ColourShift` from the set's eigenvalues and eigenvectors; None for none.
  """

  def __init__(
    self,
    statistics: manifest.Statistics,
    scale_min: int = 256,
    scale_max: int = 256,
    flip: bool = True,
    colour_shift: Callable[..., ColourShift] | None = None,
  ):
    if not 0 < scale_min <= scale_max:
      raise errors.UsageError(
        f"TrainView.scale_min = {scale_min}, scale_max = {scale_max}: expected 0 < min <= max"
      )
    self.scale_min, self.scale_max = scale_min, scale_max
    self._flip = flip
    self._colour_shift = colour_shift and colour_shift(
      statistics.eigenvalues, statistics.eigenvectors
    )

  def scale(self, uniform: np.ndarray) -> int:
    """Returns S for one image, from its uniform numbers (float32 [DRAWS])."""
    return self.scale_min + int(uniform[_SCALE] * (self.scale_max - self.scale_min + 1))

  def crop(
    self, encoded: tf.Tensor, size: tf.Tensor, scale: tf.Tensor, uniform: tf.Tensor, side: int
  ) -> tf.Tensor:
    """Returns uint8 [side, side, 3] of a stored JPEG of int64 `size` [height, width] at S."""
    corner = tf.stack([uniform[_ROW], uniform[_COLUMN]])
    image = images.decode_crop(encoded, size, scale, corner, side)
    if self._flip:
      image = tf.cond(uniform[_FLIP] < 0.5, lambda: images.flip(image), lambda: image)
    if self._colour_shift:
      image = self._colour_shift(image, uniform[_COLOUR])
    return image
