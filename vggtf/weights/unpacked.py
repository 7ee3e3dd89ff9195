"""How large compressed files may become: weights hardly shrink, and bombs grow a thousandfold."""

from __future__ import annotations

import zipfile
from pathlib import Path

MOST = 64  # times the size that it has


def check(path: Path) -> None:
  """Looks at an archive's own list, before anything is unpacked.

  Raises:
    ValueError: it says that it becomes too large.
  """
  with zipfile.ZipFile(path) as archive:
    size = sum(entry.file_size for entry in archive.infolist())
  if size > MOST * path.stat().st_size:
    raise ValueError(f"it would unpack to {size} bytes, {MOST} times its own size and more")
