"""The command lines as a user types them, for tests of the whole way."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def start(module: str, *arguments: str, **options) -> subprocess.Popen:
  """Starts `python -m module arguments`; both outputs are piped as text."""
  return subprocess.Popen(
    [sys.executable, "-m", module, *map(str, arguments)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    **options,
  )


def run(module: str, *arguments: str, code: int = 0, path: Path | None = None) -> tuple[str, str]:
  """Runs a command to its end, expects its exit code, and returns what it printed.

  Args:
    module: run by python -m.
    *arguments: of the command line.
    code: the expected exit code.
    path: a folder that is put on PYTHONPATH.
  """
  environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, filter(None, [ROOT, path])))}
  process = start(module, *arguments, env=environment)
  stdout, stderr = process.communicate()
  assert process.returncode == code, stderr
  return stdout, stderr
