"""Where tables are printed; apart from terminal.py, for Beam's workers do without rich."""

import sys

from rich.console import Console

from vggtf import errors


class Patient(Console):
  """Falls silent when nobody reads it any more; rich would end the process, with exit code 1."""

  def on_broken_pipe(self):
    """Goes on without a reader."""
    self.quiet = True
    errors.silence(sys.stdout)
