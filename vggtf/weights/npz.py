"""NumPy archives of canonical tensors; no object arrays, which would be pickles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vggtf import errors
from vggtf.weights import unpacked


def read(path: Path) -> dict[str, np.ndarray]:
  """Returns the tensors as they are named.

  Raises:
    IntegrityError: it is not a sound archive of float32 arrays.
  """
  try:
    unpacked.check(path)
    with np.load(path, allow_pickle=False) as archive:
      tensors = {name: archive[name] for name in archive.files}
  except Exception as error:  # NumPy and zipfile let through whatever damage makes of a header
    raise errors.IntegrityError(
      f"{path} is damaged, or holds more than plain arrays: {error}"
    ) from error
  if other := [f"{name} ({a.dtype})" for name, a in tensors.items() if a.dtype != np.float32]:
    raise errors.IntegrityError(f"{path}: float32 expected, not {', '.join(other)}")
  return tensors


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes an archive that is not compressed: weights do not shrink."""
  with open(path, "wb") as file:  # np.savez would append its suffix to a name
    np.savez(file, **tensors)
