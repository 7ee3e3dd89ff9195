"""A part of the training images held out for validation, chosen by a hash of their ids."""

import argparse
import dataclasses

from data_tools import sharding
from vggtf import errors


def add_flags(parser: argparse.ArgumentParser):
  """Adds the flags that `from_flags` reads."""
  parser.add_argument(
    "--validation_fraction",
    type=float,
    metavar="F",
    help="hold out this fraction of the images, chosen by a hash of their ids",
  )
  parser.add_argument("--seed", type=int, default=0, help="of that choice (default 0)")


def from_flags(arguments: argparse.Namespace, given: str | None) -> "HoldOut":
  """Returns what the flags ask for.

  Args:
    arguments: the parsed flags.
    given: what of the input decides the splits already, for people; None if nothing does.

  Raises:
    UsageError: the fraction is out of range, or the splits are given.
  """
  fraction = arguments.validation_fraction
  if fraction is not None and not 0 < fraction < 1:
    raise errors.UsageError(f"--validation_fraction: got {fraction}, expected between 0 and 1")
  if fraction is not None and given:
    raise errors.UsageError(
      f"--validation_fraction={fraction}: {given}; leave the flag out, or take that away"
    )
  return HoldOut(fraction, arguments.seed)


@dataclasses.dataclass(frozen=True)
class HoldOut:
  """The fraction that is held out, None for nothing, and the seed of the choice."""

  fraction: float | None
  seed: int

  def splits(self, found: list[str]) -> list[str]:
    """Returns the splits that come of those that the input has."""
    return found if self.fraction is None else [*found, "validation"]

  def choose(self, id_: str, split: str) -> str:
    """Returns an image's split, which is `split` unless the image is held out."""
    if self.fraction is None:
      return split
    place = sharding.hash_id(id_, f"split {self.seed}")
    return "validation" if place < self.fraction * sharding.HASH_RANGE else split

  def describe(self) -> dict:
    """Returns fraction and seed as JSON values, or nothing if nothing is held out."""
    if self.fraction is None:
      return {}
    return {"validation_fraction": self.fraction, "seed": self.seed}
