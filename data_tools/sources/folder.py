"""A folder of images: `train/<class>/...` and `validation/<class>/...`, or `<class>/...` alone.

Ids are paths below the input with "/" between their parts, the same in a bucket. What is hidden
(its name starts with a dot) is not listed; folders within a class belong to it; links are followed.
A file beside the class folders has no class and is rejected, except at the top of the train/
layout, where notes may lie. With --csv a list says which files there are (image_list.py).
"""

import argparse
import dataclasses
import os
from collections.abc import Iterator, Mapping

from data_tools import storage
from data_tools.listing import hold_out, image_list, tree
from data_tools.listing.class_text import read_texts
from data_tools.listing.hold_out import HoldOut
from data_tools.source import Item
from vggtf import errors

_FOLDERS = {"train": "train", "validation": "validation", "val": "validation"}


def add_flags(parser: argparse.ArgumentParser):
  """Adds the flags of this source."""
  parser.add_argument(
    "--input", required=True, metavar="DIR", help="the folder of images, here or in a bucket"
  )
  parser.add_argument(
    "--csv",
    metavar="FILE",
    help="a list of the images: path (below --input), label and perhaps split, with that header",
  )
  hold_out.add_flags(parser)
  parser.add_argument(
    "--class_text",
    metavar="FILE",
    help="readable class names: a line is the class folder's name, a tab, the text",
  )


def open_source(arguments: argparse.Namespace) -> "Folder | image_list.ImageList":
  """Returns the source that the flags describe.

  Raises:
    UsageError: the folder is missing or its layout is not understood; the message says why.
  """
  root = storage.absolute(arguments.input)
  if not storage.is_folder(root):
    raise errors.UsageError(f"--input={arguments.input}: no such folder")
  if arguments.csv:
    return image_list.open_list(root, arguments)
  found = tree.find_folders(root, _FOLDERS)
  folders = _find_splits(root, found[""])
  given = f"{root} already has the folder {folders.get('validation')}/"
  held_out = hold_out.from_flags(arguments, given if "validation" in folders else None)
  keys = _find_classes(root, folders, found)
  texts = read_texts(arguments.class_text, keys) if arguments.class_text else {}
  return Folder(
    root=root,
    folders=tuple((split, folder, tuple(found[folder])) for split, folder in folders.items()),
    class_texts=tuple((key, texts.get(key, key)) for key in keys),
    held_out=held_out,
  )


@dataclasses.dataclass(frozen=True)
class Folder:
  """The source; `folders` are (split, path below root, class folders), "" being the root itself."""

  root: str
  folders: tuple[tuple[str, str, tuple[str, ...]], ...]
  class_texts: tuple[tuple[str, str], ...]
  held_out: HoldOut

  def splits(self) -> list[str]:
    """Returns train, and validation where the input has it or a part is held out."""
    return self.held_out.splits([split for split, _, _ in self.folders])

  def classes(self) -> tuple[tuple[str, str], ...]:
    """Returns (folder name, readable name) in the sorted order of the train split's folders."""
    return self.class_texts

  def roots(self) -> list[tuple[str, str, str | None]]:
    """Returns (split, its path, class folder) of each, and of each split for what lies astray.

    A split in a bucket is one root, since a bucket is listed by names, not by folders.
    """
    roots: list[tuple[str, str, str | None]] = []
    for split, folder, keys in self.folders:
      roots.append((split, folder, None))
      if not storage.is_remote(self.root):
        roots += ((split, folder, key) for key in keys)
    return roots

  def list_items(self, root: tuple[str, str, str | None]) -> Iterator[Item]:
    """Yields the files of one class folder, of those beside the class folders, or of a bucket."""
    split, folder, key = root
    labels = {key: label for label, (key, _) in enumerate(self.class_texts)}
    if key is None and not storage.is_remote(self.root):
      for path in tree.list_files_beside(self.root, folder):
        yield self._item(split, path, None)
      return
    above = f"{folder}/" if folder else ""
    for path, refused in tree.list_files(self.root, tree.join(folder, key or "")):
      first, _, below = path.removeprefix(above).partition("/")
      yield self._item(split, path, labels[first] if below else None, refused)

  def check_counts(self, counts: Mapping[tuple[str, int], int]):
    """Raises UsageError if there are training images, but of some class there are none."""
    image_list.check_classes(counts, self.class_texts)

  def read(self, item: Item) -> bytes:
    """Returns the file's bytes."""
    (path,) = item.locator
    return storage.read_file(storage.join(self.root, os.fsdecode(path)))

  def describe(self) -> dict:
    """Returns how the splits were made."""
    return {"name": "folder", **self.held_out.describe()}

  def _item(self, split: str, path: str, label: int | None, refused=None) -> Item:
    if label is None:
      label, refused = 0, ("no_class", "lies beside the class folders")
    id_ = tree.to_id(path)
    # Bytes, since Beam's coders take no name that is not UTF-8.
    return Item(
      id_, self.held_out.choose(id_, split), label, id_, (os.fsencode(path),), refused=refused
    )


def _find_splits(root: str, names: list[str]) -> dict[str, str]:
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


def _find_classes(root: str, folders: dict[str, str], found: dict[str, list[str]]) -> list[str]:
  train = tree.join(root, folders["train"])
  keys = found[folders["train"]]
  if not keys:
    raise errors.UsageError(f"{train} holds no class folders; expected <class>/<image> in it")
  unreadable = [key for key in keys if not key.isprintable()]
  if unreadable:
    raise errors.UsageError(f"{train}: rename the class folder {unreadable[0]!r} to printable text")
  unknown = sorted(set(found[folders.get("validation", folders["train"])]) - set(keys))
  if unknown:
    raise errors.UsageError(
      f"{folders['validation']}/ has {len(unknown)} classes that train/ lacks: "
      f"{', '.join(unknown[:5])}; expected the same class folders in both"
    )
  return keys
