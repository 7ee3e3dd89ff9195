"""Exact sums of pixels, for the mean and the covariance of a training set's colours."""

import dataclasses

import numpy as np

from vggtf import manifest

_BLOCK = 1 << 20  # pixels


@dataclasses.dataclass(frozen=True)
class Moments:
  """Sums over pixels, as whole numbers of any size: adding them is exact in any order.

  Attributes:
    pixels: number of pixels.
    sums: sum of R, G and B.
    products: sum of RR, RG, RB, GG, GB and BB.
  """

  pixels: int = 0
  sums: tuple[int, int, int] = (0, 0, 0)
  products: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)

  def __add__(self, other: "Moments") -> "Moments":
    """Returns the moments of both sets of pixels together."""
    return Moments(
      self.pixels + other.pixels,
      tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
      tuple(a + b for a, b in zip(self.products, other.products, strict=True)),
    )

  def summarize(self) -> manifest.Statistics | None:
    """Returns mean and covariance (over all pixels, divided by their number); None without any."""
    n = self.pixels
    if not n:
      return None
    rr, rg, rb, gg, gb, bb = self.products
    products = ((rr, rg, rb), (rg, gg, gb), (rb, gb, bb))
    # Whole numbers to the last division, which rounds once: no cancellation, no order.
    covariance = tuple(
      tuple((n * products[i][j] - self.sums[i] * self.sums[j]) / (n * n) for j in range(3))
      for i in range(3)
    )
    mean = tuple(s / n for s in self.sums)
    return manifest.Statistics(n, mean, covariance, *decompose(covariance))


def measure(rgb: np.ndarray) -> Moments:
  """Returns the moments of uint8 [h, w, 3].

  The products run in float64, whose sums of whole numbers are exact below 2^53: in blocks, so that
  a large image takes no more memory than a small one.
  """
  flat = rgb.reshape(-1, 3)
  blocks = (flat[at : at + _BLOCK] for at in range(0, len(flat), _BLOCK))
  return sum(map(_measure_block, blocks), start=Moments())


def _measure_block(pixels: np.ndarray) -> Moments:
  planes = [pixels[:, at].astype(np.float64) for at in range(3)]  # faster than [n, 3] as one
  return Moments(
    len(pixels),
    tuple(int(plane.sum()) for plane in planes),
    tuple(int(planes[i] @ planes[j]) for i in range(3) for j in range(i, 3)),
  )


def decompose(covariance) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
  """Returns the eigenvalues, descending, and the unit eigenvector of each as a row.

  Rounded, because the last digits of LAPACK's answer are the processor's.
  """
  values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
  rows = vectors.T[::-1]
  rows = rows * np.sign(rows[range(3), np.abs(rows).argmax(axis=1)])[:, None]
  return (
    tuple(round(value, 6) + 0.0 for value in values[::-1].tolist()),
    tuple(tuple(round(part, 9) + 0.0 for part in row) for row in rows.tolist()),
  )
