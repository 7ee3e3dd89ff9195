"""What Beam logs, made less: it greets, warns of what is no concern, and says each error thrice."""

import contextlib
import logging
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def silence() -> Iterator[None]:
  """Lets nothing below an error be logged while the block runs."""
  before = logging.root.manager.disable
  logging.disable(logging.WARNING)
  try:
    yield
  finally:
    logging.disable(before)


def print_nothing():
  """Stops Beam's workers in this process from printing the errors that they also log."""
  from apache_beam.runners.worker import sdk_worker

  sdk_worker.print = lambda *_, **__: None


# What still drops the words of a failed run's last threads; the next run begins without.
_left: list[tuple[logging.Handler, Callable[[logging.LogRecord], bool]]] = []


class HeldErrors:
  """Keeps errors back that a runner logs, until it is known whether its exception says it all."""

  def __init__(self):
    self._held: list[tuple[logging.Handler, logging.LogRecord]] = []
    self._forgotten = False

  @contextlib.contextmanager
  def hold(self) -> Iterator[None]:
    """Keeps errors back while the block runs, and shows them at its end but for `forget`."""
    _remove(_left)
    _left.clear()
    filters = [(handler, self._make_filter(handler)) for handler in logging.root.handlers]
    for handler, filter_ in filters:
      handler.addFilter(filter_)
    try:
      yield
    finally:
      if self._forgotten:
        _left.extend(filters)
      else:
        _remove(filters)
        for handler, record in self._held:
          handler.handle(record)

  def forget(self):
    """Drops what was kept back, and what threads still at work will say after the block."""
    self._forgotten = True

  def _make_filter(self, handler: logging.Handler) -> Callable[[logging.LogRecord], bool]:
    def show(record: logging.LogRecord) -> bool:
      # A portable runner repeats on the root logger what its job has logged.
      of_beam = record.name.partition(".")[0] in ("apache_beam", "root")
      if record.levelno < logging.ERROR or not of_beam:
        return True
      self._held.append((handler, record))
      return False

    return show


def _remove(filters):
  for handler, filter_ in filters:
    handler.removeFilter(filter_)
