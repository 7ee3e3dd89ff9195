"""What Beam logs, made less: it greets, warns of what is no concern, and says each error thrice."""

import contextlib
import logging
from collections.abc import Iterator


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


class HeldErrors(logging.Filter):
  """Keeps errors back that a runner logs, until it is known whether its exception says it all."""

  def __init__(self):
    super().__init__()
    self._records: list[logging.LogRecord] = []

  def filter(self, record: logging.LogRecord) -> bool:
    """Returns whether the record is to be shown now."""
    # A portable runner repeats on the root logger what its job has logged.
    if record.levelno < logging.ERROR or record.name.partition(".")[0] not in (
      "apache_beam",
      "root",
    ):
      return True
    self._records.append(record)
    return False

  @contextlib.contextmanager
  def hold(self) -> Iterator[None]:
    """Keeps errors back while the block runs, and shows them at its end but for `forget`."""
    handlers = list(logging.root.handlers)
    for handler in handlers:
      handler.addFilter(self)
    try:
      yield
    finally:
      for handler in handlers:
        handler.removeFilter(self)
      for record in self._records:
        logging.root.handle(record)

  def forget(self):
    """Drops what was kept back."""
    self._records.clear()
