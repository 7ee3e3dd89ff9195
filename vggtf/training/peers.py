"""The other processes of a run, and a line to them beside TensorFlow's.

TensorFlow says late or never that a process is stuck, and of one that failed only that it is gone.
All lines lead to the first process, which passes on what the others must know. They are made on the
ports of TF_CONFIG before TensorFlow takes these over (meeting.py), so no other has to be open.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vggtf import errors

_log = logging.getLogger(__name__)
_ALIVE_EVERY = 1.0  # seconds
_LAST_WORDS_WITHIN = 3.0
_LONGEST_TEXT = 1000  # characters of an error that are passed on


class Peers:
  """All processes of a run, this one among them; while it is entered, the others hear its end.

  A thread tells the others every second that this process lives. Once one of them is lost, the main
  thread has 3 s to find out by itself and to end in order; then the stacks of all threads go to
  stderr and the process ends with 7, for nothing else ends a sum that waits for a lost process.

  Args:
    names: of all processes, by rank.
    rank: this one's.
    lines: by rank, connections to all others in the first process, to the first in the others.
    silence: seconds without a sign of life after which a process counts as stuck.
    timeout: seconds that an exchange may take.

  names: of all processes, by rank.
  rank: this one's.
  lost: which process was lost, and how; None while all is well.
  """

  def __init__(
    self,
    names: Sequence[str] = ("this process",),
    rank: int = 0,
    lines: Mapping[int, socket.socket] | None = None,
    silence: float = 15.0,
    timeout: float = 600.0,
  ):
    self.lost: str | None = None
    self.names, self.rank, self._lines = tuple(names), rank, dict(lines or {})
    self._silence, self._timeout = silence, timeout
    self._changed, self._sending = threading.Condition(), threading.Lock()
    self._given: dict[int, dict[int, Any]] = collections.defaultdict(dict)  # by exchange and rank
    self._exchanged: dict[int, list | None] = {}
    self._turn, self._left, self._closing = 0, set[int](), False
    self._asked: str | None = None
    self._on_stop: Callable[[str], None] = lambda what: None
    self._listener = threading.Thread(target=self._listen, name="peers", daemon=True)
    if self._lines:
      self._listener.start()

  def __enter__(self) -> Peers:
    return self

  def __exit__(self, _, error: BaseException | None, __) -> None:
    self._closing = True
    if error is None or isinstance(error, errors.Preempted):
      self._tell(["bye"])
    else:
      self._tell(["failed", self.lost or f"{self.names[self.rank]} ended: {describe(error)}"])
    for line in self._lines.values():
      _hang_up(line)
    if self._listener.ident:
      self._listener.join(_LAST_WORDS_WITHIN)

  def exchange(self, value: Any) -> list:
    """Returns what all processes call this with, by rank; waits for them.

    All call it as often and in the same order.

    Args:
      value: what JSON can say.

    Raises:
      PeerError: a process was lost, or does not come within the time.
    """
    return self._give(value, for_all=True)

  def gather(self, value: Any) -> list | None:
    """Returns in the first process what `exchange` does; None in the others, who wait as well."""
    return self._give(value, for_all=False)

  def _give(self, value: Any, for_all: bool) -> list | None:
    self._turn += 1
    if self.rank == 0:
      self._take(0, self._turn, json.loads(json.dumps(value)), for_all)  # as the others' arrive
    else:
      self._tell(["value", self._turn, value, for_all])
    with self._changed:
      self._changed.wait_for(lambda: self._turn in self._exchanged or self.lost, self._timeout)
      if self._turn in self._exchanged:
        return self._exchanged.pop(self._turn)
      late = [name for at, name in enumerate(self.names) if at not in self._given[self._turn]]
      waited = " and ".join(late) if self.rank == 0 else "the others"
    self._lose(f"waited {self._timeout:g} s for {waited}; see their logs")
    raise _error(self.lost)

  def ask_to_stop(self) -> None:
    """Passes on that this process was asked to stop."""
    self._tell(["stop", f"{self.names[self.rank]} was asked to stop"])

  def on_stop(self, call: Callable[[str], None]) -> None:
    """Has a function called when another process was asked to, with that; maybe in a thread."""
    self._on_stop = call
    if self._asked:
      call(self._asked)

  def error(self) -> errors.PeerError:
    """Returns what to raise when TensorFlow says that a process was lost; waits for its name."""
    with self._changed:
      self._changed.wait_for(lambda: self.lost, self._silence if self._lines else 0)
    return _error(self.lost or "another process does not answer; its own log says why")

  def _listen(self) -> None:
    """Runs in the thread: hears the others, and notices who has gone or is silent."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # for the main thread (stopping.py)
    missed = dict.fromkeys(self._lines, 0)  # not a time: this process may have slept itself
    rest = dict.fromkeys(self._lines, b"")
    beat = 0.0
    with selectors.DefaultSelector() as selector:
      for rank, line in self._lines.items():
        selector.register(line, selectors.EVENT_READ, rank)
      while selector.get_map():
        if time.monotonic() >= beat:
          beat = time.monotonic() + _ALIVE_EVERY
          self._tell(["alive"])
          missed = {rank: count + 1 for rank, count in missed.items()}
        for key, _ in selector.select(max(beat - time.monotonic(), 0)):
          rank, data = key.data, _receive(key.fileobj)
          missed[rank] = 0
          *messages, rest[rank] = (rest[rank] + data).split(b"\n")
          for message in messages:
            self._hear(rank, *json.loads(message))
          if not data:
            selector.unregister(key.fileobj)
            del missed[rank]
            if rank not in self._left:
              self._lose(f"{self.names[rank]} was lost; its own log says why")
        for rank, count in missed.items():
          if count * _ALIVE_EVERY > self._silence:
            self._lose(f"{self.names[rank]} is stuck: no sign of life for {self._silence:g} s")

  def _hear(self, rank: int, kind: str, *content: Any) -> None:
    match kind:
      case "value":
        self._take(rank, *content)
      case "values":
        with self._changed:
          self._exchanged[content[0]] = content[1]
          self._changed.notify_all()
      case "stop":
        self._tell(["stop", *content], but=rank)
        (self._asked,) = content
        self._on_stop(self._asked)
      case "lost":
        self._lose(*content)
      case "failed" | "bye":
        self._left.add(rank)
        _hang_up(self._lines[rank])
        for text in content:
          self._lose(text)

  def _take(self, rank: int, turn: int, value: Any, for_all: bool) -> None:
    """Keeps a process's part of an exchange, in the first process; the last part completes it."""
    with self._changed:
      given = self._given[turn]
      given[rank] = value
      if len(given) < len(self.names):
        return
      values = self._exchanged[turn] = [given[at] for at in range(len(self.names))]
      del self._given[turn]
      self._changed.notify_all()
    self._tell(["values", turn, values if for_all else None])

  def _lose(self, text: str) -> None:
    with self._changed:
      if self.lost or self._closing:
        return
      self.lost = text
      self._changed.notify_all()
    if self.rank == 0:
      self._tell(["lost", text])
    end = threading.Timer(_LAST_WORDS_WITHIN, self._end_at_once)
    end.daemon = True
    end.start()

  def _end_at_once(self) -> None:
    if not self._closing:
      errors.end_at_once(_error(self.lost))

  def _tell(self, message: list, but: int | None = None) -> None:
    data = json.dumps(message).encode() + b"\n"
    with self._sending:
      for rank, line in self._lines.items():
        if rank != but:
          with contextlib.suppress(OSError):  # who has gone is noticed by the thread
            line.sendall(data)


def _error(text: str) -> errors.PeerError:
  return errors.PeerError(f"{text}; start all of them again")


def _hang_up(line: socket.socket) -> None:
  """Ends what is sent. A close would do more: what then comes in makes the other lose our words."""
  with contextlib.suppress(OSError):
    line.shutdown(socket.SHUT_WR)


def _receive(line: socket.socket) -> bytes:
  """Returns what has come; nothing where the other side has gone."""
  try:
    return line.recv(1 << 16)
  except OSError:
    return b""


def describe(error: BaseException) -> str:
  """Returns an error's kind and message in one line, to pass on."""
  kind = (
    f"ERROR {error.exit_code}" if isinstance(error, errors.VggtfError) else type(error).__name__
  )
  return f"{kind}: {' '.join(str(error).split())[:_LONGEST_TEXT]}"
