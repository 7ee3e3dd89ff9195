"""Options that are named in a gin file, and the refusal of names that do not exist."""

from collections.abc import Mapping
from typing import TypeVar

from vggtf import errors

T = TypeVar("T")


def choose(option: str, name: str | None, known: Mapping[str | None, T]) -> T:
  """Returns `known[name]`.

  Raises:
    UsageError: there is no such name; the message tells the option, what was given and what exists.
  """
  if name not in known:
    names = ", ".join(repr(one) for one in known)
    raise errors.UsageError(f"{option}={name!r} is unknown: choose one of {names}")
  return known[name]
