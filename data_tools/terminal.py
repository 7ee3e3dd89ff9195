"""What a command says to people. One who stops listening (`| head`) ends nothing by it.

The work is what is written and the exit code, so neither may hang on a pipe. Rich is imported for
tables alone: Beam's workers do without it.
"""

import contextlib
import os
import sys


def say(line: str):
  """Prints a line to stderr, if anybody still reads it."""
  with contextlib.suppress(BrokenPipeError):
    print(line, file=sys.stderr, flush=True)


def make_console():
  """Returns a `rich.console.Console` on stdout that falls silent when nobody reads it any more."""
  from rich.console import Console

  class Patient(Console):
    """By itself rich would end the process, with exit code 1."""

    def on_broken_pipe(self):
      self.quiet = True
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

  return Patient()
