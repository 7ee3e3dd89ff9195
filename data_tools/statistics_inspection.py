"""Whether the manifest's statistics are those of the stored images, and agree with themselves."""

from collections.abc import Iterator

import numpy as np

from vggtf.manifest import Statistics

# The manifest's are of the pixels before they were encoded; what JPEG of any usual quality changes
# is far below a level in the mean, and a few levels squared of the variance.
_MEAN = 1.0
_COVARIANCE = 0.05  # of the total variance
_ROUNDED = 1e-6  # of the total variance: the eigenvectors have nine digits


def compare(stored: Statistics | None, written: Statistics | None) -> Iterator[str]:
  """Yields what is wrong.

  Args:
    stored: of all stored images, decoded again; None of none.
    written: the manifest's.
  """
  if stored is None or written is None:
    if stored is not written:
      yield "has statistics of no image, or none of those that there are"
    return
  covariance = np.array(written.covariance_rgb)
  total = 1 + np.trace(covariance)
  if (
    stored.pixels != written.pixels
    or np.abs(np.subtract(stored.mean_rgb, written.mean_rgb)).max() > _MEAN
    or np.abs(stored.covariance_rgb - covariance).max() > _COVARIANCE * total
  ):
    yield (
      f"mean {written.mean_rgb} of {written.pixels} pixels, the stored images have "
      f"{stored.mean_rgb} of {stored.pixels}, or covariances that differ"
    )
  rows = np.array(written.eigenvectors)
  if not (
    np.allclose(rows.T * written.eigenvalues @ rows, covariance, rtol=0, atol=_ROUNDED * total)
    and np.allclose(rows @ rows.T, np.eye(3), rtol=0, atol=_ROUNDED)
    and list(written.eigenvalues) == sorted(written.eigenvalues, reverse=True)
  ):
    yield "has eigenvectors of another covariance than its own"
