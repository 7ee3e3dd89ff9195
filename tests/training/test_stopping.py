"""Signals, real ones."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest

from vggtf.training import peers, stopping

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_only_asks_and_the_handler_from_before_comes_back(number, caplog):
  heard, told = [], []
  before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGURG)}
  mine = signal.signal(number, lambda *_: heard.append("mine"))
  try:
    with caplog.at_level("INFO", "vggtf"), stopping.StopRequest() as stop:
      stop.notify(lambda: told.append("before"))
      assert not stop.requested
      os.kill(os.getpid(), number)
      assert stop.wait(30)
      stop.notify(lambda: told.append("after"))
    assert told == ["before", "after"]
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


def test_what_can_be_done_once_more_is_broken_off():
  with stopping.StopRequest() as stop:
    assert stop.unless_asked(lambda: "done") == "done"

    def work():
      os.kill(os.getpid(), signal.SIGTERM)
      while True:
        pass

    assert stop.unless_asked(work) is None
    assert stop.unless_asked(lambda: "done") is None


def test_the_other_processes_are_asked_too(caplog):
  pair = socket.socketpair()
  with peers.Peers("ab", 0, {1: pair[0]}) as one, peers.Peers("ab", 1, {0: pair[1]}) as other:
    with caplog.at_level("INFO", "vggtf"), stopping.StopRequest(one) as asked:
      heard = stopping.StopRequest(other)
      other.on_stop(heard._ask)  # two cannot be entered in one process
      os.kill(os.getpid(), signal.SIGTERM)
      assert asked.wait(30)
      assert heard.wait(30)
    with caplog.at_level("INFO", "vggtf"), stopping.StopRequest(one) as asked:
      other.ask_to_stop()
      assert asked.wait(30)
  assert "b was asked to stop: saving a checkpoint" in caplog.text


# The main thread is not in Python while the signals come.
BUSY = """
import hashlib, os, signal, sys, threading
from vggtf.training import stopping
def send(number):
  os.kill(os.getpid(), number)
with stopping.StopRequest() as stop:
  stop.notify(lambda: print("asked", stop.requested, flush=True))
  stop.notify(lambda: threading.Thread(target=send, args=[signal.{second}]).start())
  threading.Thread(target=send, args=[signal.{first}]).start()
  hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
  print("still here", flush=True)
"""


@pytest.mark.parametrize(
  ("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGINT"), ("SIGINT", "SIGTERM")]
)
def test_the_second_signal_ends_the_process_at_once(first, second):
  """T3."""
  done = subprocess.run(
    [sys.executable, "-c", BUSY.format(first=first, second=second)],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.stdout == "asked True\n"
  assert done.returncode == 128 + getattr(signal, second)
  assert done.stderr == ""


def test_a_handler_that_is_taken_over_comes_back_with_the_signals_from_meanwhile():
  heard = []
  before = signal.signal(signal.SIGTERM, lambda *_: heard.append("mine"))
  try:
    with stopping.kept_handler():
      signal.signal(signal.SIGTERM, lambda *_: heard.append("swallowed"))
      signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    assert heard == ["mine"]
  finally:
    signal.signal(signal.SIGTERM, before)


IMPORTING = """
import os, signal
from vggtf.training import stopping
with stopping.kept_handler():
  os.kill(os.getpid(), signal.SIGTERM)
  print("imported", flush=True)
print("still here")
"""


def test_before_there_is_anything_to_save_the_signal_ends_the_process():
  """P8: as soon as TensorFlow is imported, or has met the other processes."""
  done = subprocess.run(
    [sys.executable, "-c", IMPORTING], cwd=ROOT, capture_output=True, text=True, check=False
  )
  assert (done.returncode, done.stdout) == (-signal.SIGTERM, "imported\n")
