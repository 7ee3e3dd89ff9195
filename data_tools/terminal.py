"""What a command says to people. One who stops listening (`| head`) ends nothing by it.

The work is what is written and the exit code, so neither may hang on a pipe.
"""

import sys

from vggtf import errors


def say(line: str):
  """Prints a line to stderr, if anybody still reads it."""
  try:
    print(line, file=sys.stderr, flush=True)
  except BrokenPipeError:
    errors.silence(sys.stderr)
