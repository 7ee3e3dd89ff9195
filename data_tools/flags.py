"""Command lines that refuse what they do not know, and name what was probably meant."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import NoReturn

from vggtf import errors


class Parser(argparse.ArgumentParser):
  """An `ArgumentParser` without abbreviations, whose errors are `UsageError`s (exit code 2)."""

  def __init__(self, command: str, description: str, **options):
    """Makes the parser of `python -m <command>`."""
    super().__init__(
      prog=f"python -m {command}",
      description=description,
      allow_abbrev=False,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      **options,
    )

  def parse_known_args(self, args=None, namespace=None):
    """Returns the parsed flags and the arguments that are none; no path may be empty."""
    parsed, unknown = super().parse_known_args(args, namespace)
    for flag in ("input", "output"):
      if getattr(parsed, flag, None) == "":  # it would mean the current folder
        self.error(f"--{flag} is empty; expected a folder")
    return parsed, unknown

  def error(self, message: str) -> NoReturn:
    """Raises the error instead of printing the usage and leaving."""
    raise errors.UsageError(f"{message}; see {self.prog} --help")

  def parse_all(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the parsed flags.

    Raises:
      UsageError: a flag is wrong or unknown.
    """
    parsed, unknown = self.parse_known_args(arguments)
    refuse_unknown(unknown, self.flag_names())
    return parsed

  def flag_names(self) -> set[str]:
    """Returns the long flags, as "--input"."""
    return {flag for flag in self._option_string_actions if flag.startswith("--")}


def refuse_unknown(given: Sequence[str], known: Iterable[str]):
  """Raises a UsageError for the first of the arguments `given` that nobody understood, if any."""
  if not given:
    return
  first = given[0]
  if not first.startswith("--"):
    raise errors.UsageError(f"unexpected argument {first!r}; expected flags as --name=value")
  name = first.partition("=")[0]
  close = difflib.get_close_matches(name, sorted(known), n=1)
  hint = f"did you mean {close[0]}?" if close else "see --help"
  raise errors.UsageError(f"unknown option {name}; {hint}")
