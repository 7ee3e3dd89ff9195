"""Caltech-101 and Caltech-256 with random splits per class, as the paper draws them.

101_ObjectCategories/<class>/image_0001.jpg or 256_ObjectCategories/001.ak47/001_0001.jpg. Of each
class, clutter too, --train_per_class images train and at most --test_per_class of the rest test,
drawn by a hash of id and --split_seed: the paper averages three such splits. Files that are named
otherwise (056.dog/greg/, 198.spider/RENAME2) are no images of the data set and are left out.
"""

import argparse
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping

from data_tools import sharding, storage
from data_tools.listing import tree
from data_tools.source import Item
from vggtf import errors

DEFAULT_SHARDS = "train=4,test=8"
_FOLDERS = ("101_ObjectCategories", "256_ObjectCategories")
_NUMBERED = re.compile(r"\d{3}\.(.+)")  # a class folder of Caltech-256
_PHOTO = re.compile(r"(image|\d{3})_\d{4}\.jpg")
_TRAIN = {101: 30, 256: 60}
_TEST = {101: 50, 256: None}  # None: all that are left


def add_flags(parser: argparse.ArgumentParser):
  """Adds the flags of this source."""
  parser.add_argument(
    "--input",
    required=True,
    metavar="DIR",
    help="the folder of class folders, or the one that holds 101_ObjectCategories",
  )
  parser.add_argument(
    "--train_per_class",
    type=int,
    metavar="N",
    help="training images of each class (default 30, for Caltech-256 60)",
  )
  parser.add_argument(
    "--test_per_class",
    metavar="N",
    help='most test images of each class, or "all" (default 50, for Caltech-256 all)',
  )
  parser.add_argument(
    "--split_seed", type=int, default=0, help="which random split: 0, 1, 2, ... (default 0)"
  )


def open_source(arguments: argparse.Namespace) -> "Caltech":
  """Returns the source that the flags describe.

  Raises:
    UsageError: the folder is missing or holds no classes, or a number is out of range.
  """
  given = storage.absolute(arguments.input)
  if not storage.is_folder(given):
    raise errors.UsageError(f"--input={arguments.input}: no such folder")
  found = tree.find_folders(given, _FOLDERS)
  inside = [name for name in _FOLDERS if name in found[""]]
  if len(inside) > 1:
    raise errors.UsageError(f"{given} holds {' and '.join(inside)}; give one of them as --input")
  folder = inside[0] if inside else ""
  keys = found[folder]
  root = tree.join(given, folder)
  if not keys:
    raise errors.UsageError(f"{root} holds no class folders; expected <class>/image_0001.jpg in it")
  numbered = [key for key in keys if _NUMBERED.fullmatch(key)]
  if numbered and len(numbered) < len(keys):
    odd = sorted(set(keys) - set(numbered))[0]
    raise errors.UsageError(
      f"{root} holds {numbered[0]}, as Caltech-256 does, and also {odd}; move one of them away"
    )
  kind = 256 if numbered else 101
  train = _TRAIN[kind] if arguments.train_per_class is None else arguments.train_per_class
  if train < 1:
    raise errors.UsageError(f"--train_per_class: got {train}, expected 1 or more")
  return Caltech(
    root,
    kind,
    tuple(keys),
    train,
    _parse_test(arguments.test_per_class, kind),
    arguments.split_seed,
  )


@dataclasses.dataclass(frozen=True)
class Caltech:
  """The source; `kind` is 101 or 256, `test` None for all images that do not train."""

  root: str
  kind: int
  keys: tuple[str, ...]
  train: int
  test: int | None
  seed: int

  def splits(self) -> list[str]:
    """Returns train and test."""
    return ["train", "test"]

  def classes(self) -> list[tuple[str, str]]:
    """Returns (folder name, that without number and underscores) in sorted order."""
    return [
      (key, (_NUMBERED.fullmatch(key) or [key, key])[1].replace("_", " ")) for key in self.keys
    ]

  def roots(self) -> list[int]:
    """Returns the labels: each class is listed and drawn from by itself."""
    return list(range(len(self.keys)))

  def list_items(self, root: int) -> Iterator[Item]:
    """Yields the files of one class."""
    photos = []
    for path, refused in tree.list_files(self.root, self.keys[root]):
      if path.count("/") == 1 and _PHOTO.fullmatch(path.rpartition("/")[2]) and not refused:
        photos.append(path)
      else:
        odd = None if refused else ("not_in_set", "is named unlike the data set's images")
        yield _make_item(path, "test", root, left_out=odd, refused=refused)
    photos.sort(key=lambda path: (sharding.hash_id(path, f"caltech {self.seed}"), path))
    drawn = len(photos) if self.test is None else self.train + self.test
    for at, path in enumerate(photos):
      split = "train" if at < self.train else "test"
      spare = None if at < drawn else ("not_drawn", f"its class has {self.test} test images")
      yield _make_item(path, split, root, left_out=spare)

  def check_counts(self, counts: Mapping[tuple[str, int], int]):
    """Raises UsageError if a class is too small to train as it should and leave one to test."""
    small = [
      f"{key} ({counts.get(('train', label), 0) + counts.get(('test', label), 0)})"
      for label, key in enumerate(self.keys)
      if counts.get(("train", label), 0) < self.train or not counts.get(("test", label), 0)
    ]
    if small:
      raise errors.UsageError(
        f"{len(small)} of {len(self.keys)} classes have fewer than {self.train + 1} images, which "
        f"--train_per_class={self.train} and one to test need: {', '.join(small[:5])}; complete "
        "them or lower the number"
      )

  def read(self, item: Item) -> bytes:
    """Returns the file's bytes."""
    (path,) = item.locator
    return storage.read_file(storage.join(self.root, os.fsdecode(path)))

  def describe(self) -> dict:
    """Returns how the split was drawn."""
    return {
      "name": "caltech",
      "kind": self.kind,
      "train_per_class": self.train,
      "test_per_class": "all" if self.test is None else self.test,
      "split_seed": self.seed,
    }


def _make_item(path: str, split: str, label: int, **what) -> Item:
  id_ = tree.to_id(path)
  return Item(id_, split, label, id_, (os.fsencode(path),), **what)


def _parse_test(given: str | None, kind: int) -> int | None:
  if given is None:
    return _TEST[kind]
  if given == "all":
    return None
  if not (given.isascii() and given.isdigit() and int(given)):
    raise errors.UsageError(f"--test_per_class: got {given!r}, expected 1 or more, or all")
  return int(given)
