"""Errors that a person can mend, each with the exit code that scripts and supervisors rely on.

A message says what was given, what was expected, and the cure. Anything else that escapes is a bug
of ours: it keeps its traceback and exits with 1.
"""

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn, TextIO, TypeVar

T = TypeVar("T")


class VggtfError(Exception):
  """What a user or a supervisor can act upon; printed as one line, without a traceback."""

  exit_code = 1


class UsageError(VggtfError):
  """A wrong flag, path or configuration."""

  exit_code = 2


class RejectedInputError(VggtfError):
  """More input was refused than the run allows."""

  exit_code = 3


class IntegrityError(VggtfError):
  """A shard, manifest, checkpoint or model is damaged, incomplete or of another version."""

  exit_code = 4


class EnvironmentFault(VggtfError):
  """The machine cannot do it: disk, permission, memory, a missing device or package."""

  exit_code = 5


class DivergedError(VggtfError):
  """Training met a loss that is not finite."""

  exit_code = 6


class PeerError(VggtfError):
  """Another task of the cluster is absent, or was lost; started again together, they may go on."""

  exit_code = 7


class Preempted(VggtfError):
  """Stopped on request after a saved checkpoint; the same command goes on from there."""

  exit_code = 42


def choose(option: str, name: str | None, known: Mapping[str | None, T]) -> T:
  """Returns `known[name]`, the choice that a configuration made by name.

  Raises:
    UsageError: there is no such name; the message tells the option, what was given and what exists.
  """
  if name not in known:
    names = ", ".join(repr(one) for one in known)
    raise UsageError(f"{option} = {name!r} is unknown: choose one of {names}")
  return known[name]


def run_command(command: Callable[[], int | None]) -> int:
  """Runs a command line and turns its errors into one line on stderr and an exit code.

  Args:
    command: what to run; its return value is the exit code (None means 0).

  Returns:
    The exit code: `command`'s own, that of the `VggtfError` it raised, 5 for an operating system's
    refusal, or 128 + SIGINT for Ctrl-C where nothing was running that could be saved.
  """
  try:
    return command() or 0
  except BrokenPipeError:  # the reader of our output went away (`| head`): quiet, as in any filter
    silence(sys.stdout)
    return 0
  except VggtfError as error:
    return _report(error, error.exit_code)
  except OSError as error:
    return _report(error, EnvironmentFault.exit_code)
  except KeyboardInterrupt:
    return 128 + signal.SIGINT


def silence(stream: TextIO) -> None:
  """Has all that is written to a stream whose reader has gone go nowhere.

  What is still in its buffer when Python ends would make the exit code 120.
  """
  os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def end_at_once(error: VggtfError) -> NoReturn:
  """Ends the process from any thread, for the main one may be stuck.

  On stderr are the stacks of all threads, and the error after them.
  """
  faulthandler.dump_traceback(2)
  code = _report(error, error.exit_code)
  sys.stderr.flush()
  os._exit(code)


def _report(error: Exception, code: int) -> int:
  kind = "stopped" if isinstance(error, Preempted) else f"ERROR {code}"
  # Of an error in what it traces, AutoGraph makes another, which tells the traced lines first.
  while str(error).startswith("in user code:") and error.__context__:
    error = error.__context__
  message = str(error).partition("\n  In call to configurable ")[0]  # gin appends its own trace
  print(f"vggtf: {kind}: {message}", file=sys.stderr)
  return code
