"""What an export is made of, and whether it still is: SHA256SUMS and origin.json.

assets.extra/SHA256SUMS lists every other file, so that `sha256sum --check` in the export's folder
says the same as --job=verify. assets.extra/origin.json says what it was made from, down to the
digests of the checkpoint and of the data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vggtf import errors

SUMS = Path("assets.extra/SHA256SUMS")
ORIGIN = Path("assets.extra/origin.json")


def seal(folder: Path, origin: dict[str, Any]) -> None:
  """Writes origin.json and, last of all, SHA256SUMS."""
  (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
  lines = [f"{digest(folder / name)}  {name}\n" for name in _files(folder)]
  (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check(folder: Path) -> dict[str, Any]:
  """Reads every file of an export.

  Returns:
    What origin.json says.

  Raises:
    UsageError: the folder holds no export.
    IntegrityError: a file is damaged, missing or was added; all of them are named.
  """
  try:
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    expected = {name: sum_ for sum_, name in (line.split("  ", 1) for line in lines)}
  except (FileNotFoundError, NotADirectoryError):
    raise errors.UsageError(
      f"--export={folder} is no export: it has no {SUMS}; give RUN/export/<predictor>/<version>"
    ) from None
  except ValueError:
    raise errors.IntegrityError(f"{folder / SUMS} is damaged; export again") from None
  found = {str(name) for name in _files(folder)}
  problems = [f"{name} is missing" for name in sorted(expected.keys() - found)]
  problems += [f"{name} was added" for name in sorted(found - expected.keys())]
  problems += [
    f"{name} is damaged"
    for name in sorted(found & expected.keys())
    if digest(folder / name) != expected[name]
  ]
  if problems:
    raise errors.IntegrityError(f"{folder}: {', '.join(problems)}; export again")
  return json.loads((folder / ORIGIN).read_text(encoding="utf-8"))


def digest(path: Path) -> str:
  """Returns a file's sha256 in hexadecimal digits."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def size(folder: Path) -> int:
  """Returns the bytes of all files below a folder."""
  return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _files(folder: Path) -> Iterator[Path]:
  """Yields what SHA256SUMS lists, in order, relative to the folder."""
  for path in sorted(folder.rglob("*")):
    name = path.relative_to(folder)
    if path.is_file() and name != SUMS:
      yield name
