"""A line now and then that says how far a local conversion has come."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from data_tools.shard_file import TEMPORARY_MARK


@contextlib.contextmanager
def report_progress(folder: str, expected: int, interval: float = 10.0) -> Iterator[None]:
  """Prints finished files, rate and time left to stderr while the block runs.

  Args:
    folder: where the shards appear, in folders of their scale.
    expected: number of files that there will be.
    interval: seconds between lines.
  """
  done = threading.Event()
  start = time.monotonic()

  def watch():
    while not done.wait(interval):
      print(_describe(count_files(folder), expected, time.monotonic() - start), file=sys.stderr)

  thread = threading.Thread(target=watch, name="progress", daemon=True)
  thread.start()
  try:
    yield
  finally:
    done.set()
    thread.join()


def count_files(folder: str) -> int:
  """Returns the number of finished shards below `folder`."""
  count = 0
  for path, _, names in os.walk(folder):
    if path != folder:
      count += sum(TEMPORARY_MARK not in name for name in names)
  return count


def _describe(finished: int, expected: int, seconds: float) -> str:
  line = f"convert: {finished} of {expected} files, {seconds:.0f} s"
  if finished:
    left = seconds / finished * (expected - finished)
    line += f", {finished / seconds * 60:.1f} files/min, about {left:.0f} s left"
  return line
