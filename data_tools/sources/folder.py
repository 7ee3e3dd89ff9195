"""A folder of images: `train/<class>/...` and `validation/<class>/...`, or `<class>/...` alone.

Ids are paths below the input with "/" between their parts. What is hidden (its name starts with a
dot) is not listed; folders within a class belong to it; links are followed. A file beside the class
folders has no class and is rejected, except at the top of the train/ layout, where notes may lie.
"""

import argparse
import dataclasses
import os
from collections.abc import Iterator

from data_tools import sharding
from data_tools.class_text import read_texts
from data_tools.source import Item
from vggtf import errors

_FOLDERS = {"train": "train", "validation": "validation", "val": "validation"}


def add_flags(parser: argparse.ArgumentParser):
  """Adds the flags of this source."""
  parser.add_argument("--input", required=True, metavar="DIR", help="the folder of images")
  parser.add_argument(
    "--validation_fraction",
    type=float,
    metavar="F",
    help="hold out this fraction of the images, chosen by a hash of their ids",
  )
  parser.add_argument("--seed", type=int, default=0, help="of that choice (default 0)")
  parser.add_argument(
    "--class_text",
    metavar="FILE",
    help="readable class names: a line is the class folder's name, a tab, the text",
  )


def open_source(arguments: argparse.Namespace) -> "Folder":
  """Returns the source that the flags describe.

  Raises:
    UsageError: the folder is missing or its layout is not understood; the message says why.
  """
  root = os.path.abspath(arguments.input)
  if not os.path.isdir(root):
    raise errors.UsageError(f"--input={arguments.input}: no such folder")
  folders = _find_splits(root)
  fraction = arguments.validation_fraction
  if fraction is not None:
    if not 0 < fraction < 1:
      raise errors.UsageError(f"--validation_fraction: got {fraction}, expected between 0 and 1")
    if "validation" in folders:
      raise errors.UsageError(
        f"--validation_fraction={fraction}: {root} already has the folder "
        f"{folders['validation']}/; leave the flag out, or move that folder away"
      )
  keys = _find_classes(root, folders)
  texts = read_texts(arguments.class_text, keys) if arguments.class_text else {}
  return Folder(
    root=root,
    folders=tuple(folders.items()),
    class_texts=tuple((key, texts.get(key, key)) for key in keys),
    validation_fraction=fraction,
    seed=arguments.seed,
  )


@dataclasses.dataclass(frozen=True)
class Folder:
  """The source; `folders` are (split, path below root), "" being the root itself."""

  root: str
  folders: tuple[tuple[str, str], ...]
  class_texts: tuple[tuple[str, str], ...]
  validation_fraction: float | None
  seed: int

  def splits(self) -> list[str]:
    """Returns train, and validation where the input has it or a part is held out."""
    splits = [split for split, _ in self.folders]
    return splits if self.validation_fraction is None else [*splits, "validation"]

  def classes(self) -> tuple[tuple[str, str], ...]:
    """Returns (folder name, readable name) in the sorted order of the train split's folders."""
    return self.class_texts

  def roots(self) -> list[tuple[str, str, int | None]]:
    """Returns (split, path, label) of each class folder, and of each split for what lies astray."""
    labels = {key: label for label, (key, _) in enumerate(self.class_texts)}
    roots: list[tuple[str, str, int | None]] = []
    for split, folder in self.folders:
      roots.append((split, folder, None))
      for key in _list_folders(os.path.join(self.root, folder)):
        roots.append((split, _join(folder, key), labels[key]))
    return roots

  def list_items(self, root: tuple[str, str, int | None]) -> Iterator[Item]:
    """Yields the files of one class folder, or those that lie beside the class folders."""
    split, path, label = root
    if label is not None:
      yield from self._walk(split, path, label, ())
      return
    for entry in _scan(os.path.join(self.root, path)):
      if not entry.is_dir():
        origin = _join(path, entry.name)
        yield self._item(split, origin, 0, ("no_class", "lies beside the class folders"))

  def read(self, item: Item) -> bytes:
    """Returns the file's bytes."""
    (path,) = item.locator
    with open(os.path.join(os.fsencode(self.root), path), "rb") as file:
      return file.read()

  def describe(self) -> dict:
    """Returns how the splits were made."""
    if self.validation_fraction is None:
      return {"name": "folder"}
    return {
      "name": "folder",
      "validation_fraction": self.validation_fraction,
      "seed": self.seed,
    }

  def _walk(self, split: str, path: str, label: int, above: tuple) -> Iterator[Item]:
    full = os.path.join(self.root, path)
    status = os.stat(full)
    here = (status.st_dev, status.st_ino)
    if here in above:
      raise errors.UsageError(f"{full} is a link to a folder that holds it; remove the link")
    for entry in _scan(full):
      child = _join(path, entry.name)
      if entry.is_dir():
        yield from self._walk(split, child, label, (*above, here))
      elif entry.is_file():
        yield self._item(split, child, label, None)
      else:
        kind = "a link to nothing" if entry.is_symlink() else "a device, pipe or socket"
        yield self._item(split, child, label, ("not_a_file", kind))

  def _item(self, split, path, label, refused) -> Item:
    # A name that is not UTF-8 stays readable (\xff) in ids; the locator keeps its bytes.
    id_ = os.fsencode(path).decode("utf-8", "backslashreplace")
    if self.validation_fraction is not None:
      place = sharding.hash_id(id_, f"split {self.seed}")
      held_out = place < self.validation_fraction * sharding.HASH_RANGE
      split = "validation" if held_out else split
    return Item(id_, split, label, id_, (os.fsencode(path),), refused)


def _find_splits(root: str) -> dict[str, str]:
  names = _list_folders(root)
  if "train" not in names:
    found = sorted(set(names) & set(_FOLDERS))
    if found:
      raise errors.UsageError(f"{root} has {found[0]}/ but no train/; expected train/<class>/...")
    return {"train": ""}
  others = sorted(set(names) - set(_FOLDERS))
  if others:
    raise errors.UsageError(
      f"{root} has train/ and also {', '.join(others[:5])}, which would not be read; expected "
      "train/ and validation/ (or val/) alone, or class folders alone: rename or move the others"
    )
  if {"val", "validation"} <= set(names):
    raise errors.UsageError(f"{root} has both val/ and validation/; move one of them away")
  return {_FOLDERS[name]: name for name in names}


def _find_classes(root: str, folders: dict[str, str]) -> list[str]:
  train = os.path.join(root, folders["train"])
  keys = _list_folders(train)
  if not keys:
    raise errors.UsageError(f"{train} holds no class folders; expected <class>/<image> in it")
  unreadable = [key for key in keys if not key.isprintable()]
  if unreadable:
    raise errors.UsageError(f"{train}: rename the class folder {unreadable[0]!r} to printable text")
  if "validation" in folders:
    unknown = sorted(set(_list_folders(os.path.join(root, folders["validation"]))) - set(keys))
    if unknown:
      raise errors.UsageError(
        f"{folders['validation']}/ has {len(unknown)} classes that train/ lacks: "
        f"{', '.join(unknown[:5])}; expected the same class folders in both"
      )
  return keys


def _scan(folder: str) -> list[os.DirEntry]:
  with os.scandir(folder) as entries:
    visible = [entry for entry in entries if not entry.name.startswith(".")]
  return sorted(visible, key=lambda entry: entry.name)


def _list_folders(folder: str) -> list[str]:
  return [entry.name for entry in _scan(folder) if entry.is_dir()]


def _join(folder: str, name: str) -> str:
  return f"{folder}/{name}" if folder else name
