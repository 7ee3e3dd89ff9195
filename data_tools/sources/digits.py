"""scikit-learn's 1,797 scanned digits, without a folder: what data_tools.digits would write to one.

Ids, bytes and splits are those of that folder, so the shards are too.
"""

import argparse
import dataclasses
import functools
from collections.abc import Iterator, Mapping

from data_tools.listing import scanned_digits
from data_tools.source import Item
from vggtf import errors

DEFAULT_SHARDS = "train=4,validation=1"
_IMAGES = 1797


def add_flags(parser: argparse.ArgumentParser):
  """Adds none: the images come with a package, and their splits are fixed."""


def open_source(arguments: argparse.Namespace) -> "Digits":
  """Returns the source.

  Raises:
    EnvironmentFault: scikit-learn is missing.
  """
  _load()
  return Digits()


@dataclasses.dataclass(frozen=True)
class Digits:
  """The source; each worker loads the images for itself."""

  def splits(self) -> list[str]:
    """Returns train and validation, which has every fifth image of each class."""
    return ["train", "validation"]

  def classes(self) -> list[tuple[str, str]]:
    """Returns the digits, as keys and as texts."""
    return [(str(digit), str(digit)) for digit in range(10)]

  def roots(self) -> list[str]:
    """Returns one root for all."""
    return ["digits"]

  def list_items(self, root: str) -> Iterator[Item]:
    """Yields all images."""
    _, labels = _load()
    for index, name in enumerate(scanned_digits.name_images(labels)):
      yield Item(name, name.partition("/")[0], int(labels[index]), name, (index,))

  def check_counts(self, counts: Mapping[tuple[str, int], int]):
    """Raises EnvironmentFault if the package does not hold the digits that it always did."""
    if (found := sum(counts.values())) != _IMAGES:
      raise errors.EnvironmentFault(
        f"scikit-learn holds {found} digits, expected {_IMAGES}; install another version of it"
      )

  def read(self, item: Item) -> bytes:
    """Returns the image as a JPEG."""
    (index,) = item.locator
    images, _ = _load()
    return scanned_digits.encode(images[index])

  def describe(self) -> dict:
    """Returns the rule of the splits."""
    return {"name": "digits", "held_out_every": scanned_digits.HELD_OUT_EVERY}


@functools.cache
def _load() -> tuple:
  return scanned_digits.load()
