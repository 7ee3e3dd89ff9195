"""A whole file as one buffer."""

import contextlib
import mmap
import os
from collections.abc import Iterator

from data_tools import storage


@contextlib.contextmanager
def open_mapped(path: str) -> Iterator[bytes | mmap.mmap]:
  """Gives a file's bytes: mapped into memory where it is local, read whole where it is remote.

  Raises:
    FileNotFoundError: there is none.
    OSError: it cannot be read.
  """
  if storage.is_remote(path) or not os.path.getsize(path):  # nothing cannot be mapped
    yield storage.read_file(path)
    return
  with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
    yield buffer
