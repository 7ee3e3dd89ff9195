"""A line now and then that says how far a local conversion has come.

Workers are processes of any kind, so they tell through small files below the data set's folder.
"""

import contextlib
import os
import struct
import threading
import time
from collections.abc import Iterator

from data_tools import storage, terminal

_FOLDER = "progress"
_TOTAL = "total"
_COUNTS = struct.Struct("<QQ")  # images done, and those of them that an earlier run has done


class Tally:
  """Counts the images of one shard; does nothing where the data set grows in a bucket."""

  def __init__(self, folder: str, shard: str):
    """Opens the shard's file at 0."""
    self._done = 0
    self._file = None if storage.is_remote(folder) else _create(folder, shard)
    self._write(0)

  def count(self):
    """Counts one image."""
    self._done += 1
    self._write(0)

  def reuse(self, images: int):
    """Counts images that an earlier run has done."""
    self._done += images
    self._write(images)

  def close(self):
    """Closes the file."""
    if self._file is not None:
      os.close(self._file)

  def _write(self, reused: int):
    if self._file is not None:
      os.pwrite(self._file, _COUNTS.pack(self._done, reused), 0)


def announce_total(folder: str, images: int):
  """Tells the number of images that there are."""
  if not storage.is_remote(folder):
    file = _create(folder, _TOTAL)
    os.pwrite(file, _COUNTS.pack(images, 0), 0)
    os.close(file)


@contextlib.contextmanager
def report_progress(folder: str, interval: float = 10.0) -> Iterator[None]:
  """Prints images done, rate and time left to stderr while the block runs.

  Args:
    folder: where the data set grows.
    interval: seconds between lines.
  """
  if storage.is_remote(folder):
    yield
    return
  done = threading.Event()
  start = time.monotonic()

  def watch():
    while not done.wait(interval):
      terminal.say(describe(folder, time.monotonic() - start))

  thread = threading.Thread(target=watch, name="progress", daemon=True)
  thread.start()
  try:
    yield
  finally:
    done.set()
    thread.join()
    remove(folder)


def describe(folder: str, seconds: float) -> str:
  """Returns the line after a run of so many seconds."""
  counts = _read_counts(folder)
  total = counts.pop(_TOTAL, (0, 0))[0]
  done = sum(of_shard[0] for of_shard in counts.values())
  new = done - sum(of_shard[1] for of_shard in counts.values())
  if not total:
    return f"convert: listing, {seconds:.0f} s"
  line = f"convert: {done:,} of {total:,} images, {seconds:.0f} s"
  if new:
    rate = new / seconds
    line += f", {rate:.1f} images/s, about {_say_duration((total - done) / rate)} left"
  return line


def remove(folder: str):
  """Removes the workers' files."""
  for name in _read_counts(folder):
    os.remove(os.path.join(folder, _FOLDER, name))
  storage.remove_empty_folder(os.path.join(folder, _FOLDER))


def _create(folder: str, name: str) -> int:
  path = os.path.join(folder, _FOLDER, name)
  os.makedirs(os.path.dirname(path), exist_ok=True)
  return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)


def _read_counts(folder: str) -> dict[str, tuple[int, int]]:
  counts = {}
  with contextlib.suppress(FileNotFoundError):
    for entry in os.scandir(os.path.join(folder, _FOLDER)):
      with open(entry.path, "rb") as file:
        data = file.read(_COUNTS.size)
      counts[entry.name] = _COUNTS.unpack(data) if len(data) == _COUNTS.size else (0, 0)
  return counts


def _say_duration(seconds: float) -> str:
  minutes = round(seconds / 60)
  if minutes < 2:
    return f"{seconds:.0f} s"
  return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
