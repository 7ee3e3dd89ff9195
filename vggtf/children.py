"""Programs that this process starts: they do not outlive it, and its signals are passed on to them.

A child is in a process group of its own: a terminal's Ctrl-C would reach it twice otherwise, and a
second one ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

POLL_EVERY = 0.1  # seconds

# Run by each child before its program: the kernel then kills it when the parent has died. Not in
# the parent's child between fork and exec, where Python code may meet the locks of threads.
_TETHER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):  # else it has died already
  os.execvp(sys.argv[2], sys.argv[2:])
"""


def start(command: Sequence[str], **options) -> subprocess.Popen:
  """Starts a program; `options` are those of subprocess.Popen."""
  tethered = [sys.executable, "-c", _TETHER, str(os.getpid()), *command]
  return subprocess.Popen(tethered, process_group=0, **options)


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
  """Yields a list of the SIGTERM and SIGINT that came, to which more are added as they come."""
  came: list[int] = []
  previous = {
    number: signal.signal(number, lambda number, _: came.append(number))
    for number in (signal.SIGTERM, signal.SIGINT)
  }
  try:
    yield came
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)


def exit_code(process: subprocess.Popen) -> int | None:
  """Returns what a shell says of it, 128 + the signal that ended it; None while it runs."""
  code = process.poll()
  return 128 - code if code is not None and code < 0 else code
