"""What the converter asks of a source of images, and how a source is found by its name.

A source is a module, `data_tools/sources/<name>.py` or any importable dotted name, with two
functions: `add_flags(parser)` and `open_source(arguments) -> Source`. It must not import Beam at
its top: `--help` shows its flags.
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Protocol

from data_tools import sources
from vggtf import errors


@dataclasses.dataclass(frozen=True)
class Item:
  """One listed image, without its bytes: small enough to be grouped by the million.

  Attributes:
    id: unique in the data set, the same wherever the input lies; decides shard and order.
    split: the split that the image belongs to.
    label: index of its class.
    origin: where it came from, for people: a path below the input, "a.tar/b.jpg".
    locator: what `Source.read` needs to find the bytes on any worker.
    refused: (reason, detail) if listing alone has shown that it cannot be converted.
  """

  id: str
  split: str
  label: int
  origin: str
  locator: tuple
  refused: tuple[str, str] | None = None


class Source(Protocol):
  """A source; pickled to the workers, so a frozen dataclass of plain values is best."""

  def splits(self) -> Sequence[str]:
    """Returns the splits that the input has."""

  def classes(self) -> Sequence[tuple[str, str]]:
    """Returns (class key, readable name) in label order."""

  def roots(self) -> Sequence[Any]:
    """Returns the pieces that can be listed independently: folders, archives. Few and small."""

  def list_items(self, root) -> Iterator[Item]:
    """Yields the items of one root. Runs on a worker."""

  def read(self, item: Item) -> bytes:
    """Returns the encoded image. Runs on a worker; an OSError about one file refuses the item."""

  def describe(self) -> dict:
    """Returns what shaped the items, as JSON values without paths, for the manifest."""


def find_module(name: str) -> ModuleType:
  """Returns the module of the source called `name`.

  Raises:
    UsageError: there is none; the message lists those that exist.
  """
  path = name if "." in name else f"{sources.__name__}.{name}"
  try:
    module = importlib.import_module(path)
  except ModuleNotFoundError as error:
    if error.name is None or not f"{path}.".startswith(f"{error.name}."):
      raise  # the source exists and misses a package of its own
    known = ", ".join(module.name for module in pkgutil.iter_modules(sources.__path__))
    raise errors.UsageError(
      f"--source={name}: no module {path}; expected one of: {known}, or the dotted name of a module"
    ) from None
  if not (hasattr(module, "add_flags") and hasattr(module, "open_source")):
    raise errors.UsageError(
      f"--source={name}: {path} is no source; it needs add_flags(parser) and open_source(arguments)"
    )
  return module
