"""Files of plain tensors, which is where PyTorch's weights are safest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vggtf import errors
from vggtf.weights import extras


def read(path: Path) -> dict[str, np.ndarray]:
  """Returns the tensors by name.

  Raises:
    IntegrityError: it is damaged, or of a type that NumPy has not.
    EnvironmentFault: the package safetensors is not installed.
  """
  library = extras.load("safetensors.numpy", "torch-weights")
  error_type = extras.load("safetensors", "torch-weights").SafetensorError
  try:
    return library.load_file(path)
  except (error_type, KeyError, ValueError, TypeError) as error:
    raise errors.IntegrityError(f"{path} cannot be read as safetensors: {error!r}") from error


def write(path: Path, state: Mapping[str, np.ndarray]) -> None:
  """Writes the tensors; the mark "pt" is what PyTorch's loaders look for."""
  library = extras.load("safetensors.numpy", "torch-weights")
  library.save_file(
    {name: np.ascontiguousarray(tensor) for name, tensor in state.items()},
    path,
    {"format": "pt"},
  )
  path.chmod(0o644)  # the library's files are their owner's alone
