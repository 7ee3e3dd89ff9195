"""One state in a folder that is whole or not there: written aside, checksummed, renamed.

  state.index, state.data-00000-of-00001, COMMIT.json

COMMIT.json, written last, says what it is of and lists the sha256 of all other files.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from vggtf import errors

ASIDE, REPLACED = ".writing-", ".removing-"  # what a killed process leaves begins so
_STATE, _COMMIT = "state", "COMMIT.json"


def write(
  folder: Path,
  state: tf.train.Checkpoint,
  step: int,
  error: float | None = None,
  texts: Mapping[str, str] | None = None,
) -> None:
  """Writes a state, to the disk before it takes its name.

  Args:
    folder: one that exists is replaced.
    state: what to write.
    step: what it was reached at.
    error: its validation error, if one was measured.
    texts: other files' contents, by their names.

  Raises:
    EnvironmentFault: there is no room, or no permission; nothing is left.
  """
  aside, before = (folder.with_name(f"{start}{folder.name}") for start in (ASIDE, REPLACED))
  shutil.rmtree(aside, ignore_errors=True)
  try:
    aside.mkdir(parents=True)
    state.write(prefix(aside))
    for name, text in (texts or {}).items():
      (aside / name).write_text(text, encoding="utf-8")
    files = sorted(path for path in aside.iterdir() if path.is_file())
    sha256 = {path.name: _sha256(path) for path in files}
    commit = {"step": step, "error": _comparable(error), "sha256": sha256}
    (aside / _COMMIT).write_text(json.dumps(commit, indent=1))
    for path in (*files, aside / _COMMIT):
      _sync(path)
    if folder.exists():
      os.rename(folder, before)
    os.rename(aside, folder)
    shutil.rmtree(before, ignore_errors=True)
    _sync(folder.parent)
  except (tf.errors.OpError, OSError) as failure:
    shutil.rmtree(aside, ignore_errors=True)
    reason = getattr(failure, "message", None) or failure
    raise errors.EnvironmentFault(
      f"the state of step {step} cannot be written to {folder.parent} ({reason}); make room or "
      "give permission there, then run the same command again"
    ) from failure


def prefix(folder: Path) -> str:
  """Returns what tf.train.Checkpoint.read takes."""
  return str(folder / _STATE)


def read_error(folder: Path) -> float | None:
  """Returns the validation error; None where none was measured, or nothing is to be read."""
  try:
    return _comparable(json.loads((folder / _COMMIT).read_text())["error"])
  except (OSError, ValueError, KeyError, TypeError):
    return None


def find_problem(folder: Path) -> str | None:
  """Returns what is wrong with a folder, None if it holds a state as it was written."""
  try:
    sha256 = json.loads((folder / _COMMIT).read_text())["sha256"]
    if {name.partition(".data-")[0] for name in sha256} != {_STATE, f"{_STATE}.index"}:
      return f"{_COMMIT} lists other files than a state's"
    for name, expected in sha256.items():
      if _sha256(folder / name) != expected:
        return f"{name} has another sha256 than {_COMMIT} says"
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    return f"{type(error).__name__}: {error}"
  return None


def _comparable(error: float | None) -> float | None:
  """Returns a validation error that can be the best, None for NaN too: NaN is below nothing."""
  return error if error is not None and math.isfinite(error) else None


def _sha256(path: Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
