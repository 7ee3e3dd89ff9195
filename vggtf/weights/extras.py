"""Packages that only some formats need, and that only some installations have."""

from __future__ import annotations

import importlib
from types import ModuleType

from vggtf import errors


def load(module: str, extra: str) -> ModuleType:
  """Returns the module.

  Args:
    module: its dotted name.
    extra: of setup.py, that brings it.

  Raises:
    EnvironmentFault: it is not installed.
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise errors.EnvironmentFault(
      f"{module} cannot be imported ({error}): pip install 'vggtf[{extra}]'"
    ) from error
