"""Which format a path is of: by its content where there is some, by its name where there is not."""

from __future__ import annotations

from pathlib import Path

from vggtf import errors
from vggtf.weights import canonical, checkpoints, npz


def read(path: str | Path, which: str = "raw", choice: str = "latest") -> canonical.Weights:
  """Returns the weights that a file or a run's folder holds, in canonical form.

  Args:
    path: of any format that is known, or a run's folder.
    which: of a run: "raw" weights, or "ema", their moving averages.
    choice: of a run: the "latest" checkpoint or the "best".

  Raises:
    UsageError: there is no such path, or nothing in it is known.
    IntegrityError: it is damaged, or holds what it should not.
  """
  path = Path(path)
  if path.is_dir():
    return checkpoints.read_run(path, which, choice)
  if not path.is_file():
    raise errors.UsageError(f"there are no weights at {path}")
  return npz.read(path)


def write(path: str | Path, weights: canonical.Weights) -> None:
  """Writes weights as what the path's suffix says."""
  npz.write(Path(path), weights)
