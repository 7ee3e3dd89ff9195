"""SIGTERM and Ctrl-C: the first asks the run to save and stop, the second ends it at once."""

from __future__ import annotations

import logging
import os
import signal

_log = logging.getLogger(__name__)


class StopRequest:
  """Watches for the signals while it is entered.

  Enter it after a strategy was made, whose collective runtime would otherwise swallow SIGTERM.

  requested: whether a signal came.
  """

  def __init__(self):
    self.requested = False
    self._previous = {}

  def __enter__(self) -> StopRequest:
    for number in (signal.SIGTERM, signal.SIGINT):
      self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *_) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _handle(self, number: int, _) -> None:
    if self.requested:
      os._exit(128 + number)
    self.requested = True
    _log.info(
      "%s: saving a checkpoint after this step; once more ends the run at once",
      signal.Signals(number).name,
    )
