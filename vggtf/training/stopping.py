"""SIGTERM and Ctrl-C: the first asks the run to save and stop, the second ends it at once."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from vggtf.training import peers as others

T = TypeVar("T")

_log = logging.getLogger(__name__)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_INTERRUPT = signal.SIGURG  # nobody sends it, and it does nothing by itself


class StopRequest:
  """Watches for the signals while it is entered, and for what the other processes heard.

  Python runs a handler when TensorFlow returns to it, which may be fifty steps later; so a thread
  reads from the file descriptor to which each signal is written at once.

  Args:
    peers: are told; when one of them was asked to stop, so was this process.
  """

  def __init__(self, peers: others.Peers | None = None):
    self._peers = peers or others.Peers()
    self._asked = threading.Event()
    self._lock = threading.Lock()
    self._calls: list[Callable[[], None]] = []
    self._interruptible = False
    self._previous = {}

  def __enter__(self) -> StopRequest:
    self._read, self._write = socket.socketpair()
    self._write.setblocking(False)
    self._previous_descriptor = signal.set_wakeup_fd(self._write.fileno())
    for number in _SIGNALS:
      self._previous[number] = signal.signal(number, _pass_over)
    self._previous[_INTERRUPT] = signal.signal(_INTERRUPT, self._interrupt)
    self._listener = threading.Thread(target=self._listen, name="signals", daemon=True)
    self._listener.start()
    self._peers.on_stop(self._ask)
    return self

  def __exit__(self, *_) -> None:
    self._peers.on_stop(lambda what: None)
    for number, handler in self._previous.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(self._previous_descriptor)
    self._write.close()  # which ends the thread
    self._listener.join()
    self._read.close()

  @property
  def requested(self) -> bool:
    """Returns whether a signal came, here or to another process."""
    return self._asked.is_set()

  def wait(self, seconds: float) -> bool:
    """Returns whether a signal came, as soon as it does."""
    return self._asked.wait(seconds)

  def notify(self, call: Callable[[], None]) -> None:
    """Has a function called once a stop is asked for, at once if it was; maybe in a thread."""
    with self._lock:
      self._calls.append(call)
      if self.requested:
        call()

  def unless_asked(self, call: Callable[[], T]) -> T | None:
    """Returns what the function does; None if a stop was asked for, which breaks it off."""
    try:
      try:
        self._interruptible = True
        return None if self.requested else call()
      finally:
        self._interruptible = False
    except _Interrupted:
      return None

  def _interrupt(self, *_) -> None:
    if self._interruptible:
      raise _Interrupted

  def _listen(self) -> None:
    """Runs in the thread."""
    asked = False
    while data := self._read.recv(1):
      if data[0] not in _SIGNALS:
        continue
      if asked:
        os._exit(128 + data[0])
      asked = True
      self._ask(signal.Signals(data[0]).name)
      self._peers.ask_to_stop()

  def _ask(self, why: str) -> None:
    with self._lock:
      if self.requested:
        return
      self._asked.set()
      _log.info("%s: saving a checkpoint after this step; once more ends the run at once", why)
      for call in self._calls:
        call()
    _thread.interrupt_main(_INTERRUPT)


class Stopped(BaseException):
  """Raised between two steps where all processes agree to stop. No error, for nobody to catch."""


class _Interrupted(BaseException):
  """Raised in the main thread to break off what can be done once more later."""


def _pass_over(*_) -> None:
  """Handles a signal by nothing: it was written to the file descriptor before."""


@contextlib.contextmanager
def kept_handler() -> Iterator[None]:
  """Lets SIGTERM wait while TensorFlow takes its handler over, and gives it back.

  The collective runtime's own handler swallows the signal, and ends nothing. Threads that are begun
  meanwhile leave the signal to the main thread for good: around the import of TensorFlow too.
  """
  signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
  handler = signal.getsignal(signal.SIGTERM)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
