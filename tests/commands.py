"""The command lines as a user types them, for tests of the whole way."""

import contextlib
import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

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


def call(*arguments: str, code: int = 0, cwd: Path = ROOT) -> tuple[str, str]:
  """Runs vggtf.main as `run` does, but in this process: it has TensorFlow already.

  Args:
    *arguments: of the command line.
    code: the expected exit code.
    cwd: where it runs.
  """
  import gin
  from absl import flags
  from absl.testing import flagsaver

  from vggtf import errors, main

  ours, stdout, stderr = logging.getLogger("vggtf"), io.StringIO(), io.StringIO()
  handlers, level, propagate = ours.handlers[:], ours.level, ours.propagate
  gin.clear_config()
  try:
    with (
      flagsaver.flagsaver(),
      mock.patch.dict(os.environ),
      mock.patch.object(sys, "argv", ["vggtf", *map(str, arguments)]),
      contextlib.chdir(cwd),
      contextlib.redirect_stdout(stdout),
      contextlib.redirect_stderr(stderr),
    ):
      found = errors.run_command(main.main)
  finally:
    gin.clear_config()
    ours.handlers[:], ours.propagate = handlers, propagate
    ours.setLevel(level)
    flags.FLAGS.unparse_flags()
  assert found == code, stderr.getvalue()
  return stdout.getvalue(), stderr.getvalue()
