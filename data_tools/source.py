"""What the converter asks of a source of images, and how a source is found by its name.

A source is a module, `data_tools/sources/<name>.py` or any importable dotted name, with two
functions: `add_flags(parser)` and `open_source(arguments) -> Source`. It must not import Beam at
its top: `--help` shows its flags. It may name its own `DEFAULT_SHARDS`, as "train=1024".
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

from data_tools import sources
from vggtf import errors, schema

_REQUIRED = 5  # fields of an Item without a default


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
    left_out: (reason, detail) if it is sound as far as is known, but the protocol does not use it.
    labels: all its classes, ascending, where an image can have several; else empty: `label` alone.
    uncertain: classes of which it is open whether the image shows them.
  """

  id: str
  split: str
  label: int
  origin: str
  locator: tuple
  refused: tuple[str, str] | None = None
  left_out: tuple[str, str] | None = None
  labels: tuple[int, ...] = ()
  uncertain: tuple[int, ...] = ()

  def __reduce__(self):
    """Pickles without field names and trailing defaults: there are millions of these."""
    fields = [getattr(self, field.name) for field in dataclasses.fields(self)]
    while len(fields) > _REQUIRED and fields[-1] in (None, ()):
      fields.pop()
    return Item, tuple(fields)


@dataclasses.dataclass(frozen=True)
class Annotation:
  """The objects of one image, from a file of their own; joins the item of the same split and id.

  Attributes:
    id: the image's.
    split: the image's.
    origin: where the annotation came from, for people.
    boxes: of its objects.
    refused: (reason, detail) if the annotation cannot be used; the image is kept, without boxes.
  """

  id: str
  split: str
  origin: str
  boxes: tuple[schema.Box, ...] = ()
  refused: tuple[str, str] | None = None


class Source(Protocol):
  """A source; pickled to the workers, so a frozen dataclass of plain values is best."""

  def splits(self) -> Sequence[str]:
    """Returns the splits that the input has."""

  def classes(self) -> Sequence[tuple[str, str]]:
    """Returns (class key, readable name) in label order."""

  def roots(self) -> Sequence[Any]:
    """Returns the pieces that can be listed independently: folders, archives. Few and small."""

  def list_items(self, root) -> Iterator[Item | Annotation]:
    """Yields the items and annotations of one root. Runs on a worker."""

  def check_counts(self, counts: Mapping[tuple[str, int], int]):
    """Raises an error if these are not the images that there should be; before any is read.

    Args:
      counts: of the listed items that are not refused, by (split, label).
    """

  def read(self, item: Item) -> bytes:
    """Returns the encoded image. Runs on a worker; an OSError about one file refuses the item."""

  def describe(self) -> dict:
    """Returns what shaped the items, as JSON values without paths, for the manifest."""


def find_module(name: str) -> ModuleType:
  """Returns the module of the source called `name`.

  Raises:
    UsageError: there is none; the message lists those that exist.
  """
  is_dotted = "." in name and not name.startswith(".")
  path = name if is_dotted else f"{sources.__name__}.{name}"
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
