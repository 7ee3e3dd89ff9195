"""Signals, real ones."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from vggtf.training import stopping

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_only_asks_and_the_handler_from_before_comes_back(number, caplog):
  heard = []
  before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
  mine = signal.signal(number, lambda *_: heard.append("mine"))
  try:
    with caplog.at_level("INFO", "vggtf"), stopping.StopRequest() as stop:
      assert not stop.requested
      os.kill(os.getpid(), number)
      assert stop.requested
    assert heard == []
    assert f"{number.name}: saving a checkpoint after this step" in caplog.text
    os.kill(os.getpid(), number)
    assert heard == ["mine"]
  finally:
    signal.signal(number, mine)
  assert {n: signal.getsignal(n) for n in before} == before


def test_handlers_come_back_after_an_exception():
  before = signal.getsignal(signal.SIGTERM)

  def fail():
    with stopping.StopRequest():
      raise ValueError

  with pytest.raises(ValueError):  # noqa: PT011
    fail()
  assert signal.getsignal(signal.SIGTERM) is before


TWICE = """
import os, signal, sys
from vggtf.training import stopping
with stopping.StopRequest() as stop:
  os.kill(os.getpid(), signal.{first})
  print("asked", stop.requested, flush=True)
  os.kill(os.getpid(), signal.{second})
  print("still here", flush=True)
"""


@pytest.mark.parametrize(
  ("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGINT", "SIGTERM")]
)
def test_the_second_signal_ends_the_process_at_once(first, second):
  done = subprocess.run(
    [sys.executable, "-c", TWICE.format(first=first, second=second)],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.stdout == "asked True\n"
  assert done.returncode == 128 + getattr(signal, second)
  assert done.stderr == ""
