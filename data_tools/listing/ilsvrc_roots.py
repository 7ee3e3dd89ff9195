"""The pieces of ImageNet that can be listed independently, and the files in one of them."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from data_tools import storage
from data_tools.listing import archive, ilsvrc_labels, tree
from data_tools.listing.ilsvrc_layout import Layout
from vggtf import errors

_CLASS_ARCHIVE = re.compile(r"(n\d{8})\.tar")


@dataclasses.dataclass(frozen=True)
class Root:
  """What is listed by one worker.

  Attributes:
    holds: "images", "boxes", or "astray": what belongs to no class.
    split: of the images.
    path: of the folder or archive, below the input; a folder's ends in "/".
    synset: the class of all its images; "" if their numbers tell it.
    window: (offset, bytes) of an archive inside the archive.
    member: the name of that archive, or of what is astray in the archive.
    unsafe: why the latter must not be opened.
  """

  holds: str
  split: str
  path: str
  synset: str = ""
  window: tuple[int, int] | None = None
  member: str = ""
  unsafe: str = ""

  @property
  def name(self) -> str:
    """What messages call it."""
    return f"{self.path}/{self.member}" if self.member else self.path


@dataclasses.dataclass(frozen=True)
class File:
  """One file of a root: where from, for people; what `read` takes; why it is refused, or None."""

  origin: str
  locator: tuple
  refused: tuple[str, str] | None = None


def find_train(layout: Layout) -> list[Root]:
  """Returns the class folders or class archives of the training images, and what lies beside them.

  Raises:
    RejectedInputError: a class has two archives.
    UsageError, IntegrityError: as `archive.list_members`.
  """
  name = layout.train
  if not name or name.endswith("/"):
    return _find_class_folders(layout, "train", name)
  roots = []
  for member in archive.list_members(layout.path(name), name):
    base = member.name.rpartition("/")[2]
    matched = _CLASS_ARCHIVE.fullmatch(base)
    if matched and not member.unsafe:
      window = (member.offset, member.size)
      roots.append(Root("images", "train", name, matched[1], window, base))
    elif member.unsafe or not base.startswith("."):
      roots.append(Root("astray", "train", name, member=member.name, unsafe=member.unsafe))
  numbers = Counter(root.member for root in roots if root.synset)
  twice = [member for member, number in numbers.items() if number > 1]
  if twice:
    raise errors.RejectedInputError(
      f"{name} has {len(twice)} archives more than once: {', '.join(twice[:5])}; get it again"
    )
  return roots


def find_validation(layout: Layout) -> list[Root]:
  """Returns the class folders of the validation images; else their one folder or archive."""
  name = layout.validation
  found = _find_class_folders(layout, "validation", name) if name.endswith("/") else []
  if any(root.synset for root in found) or not name:
    return found
  return [Root("images", "validation", name)]


def find_boxes(layout: Layout) -> list[Root]:
  """Returns the archives of boxes, or the class folders, or else the one folder."""
  roots = []
  for split, name in (("train", layout.train_boxes), ("validation", layout.validation_boxes)):
    folders = tree.find_folders(layout.path(name), ())[""] if name.endswith("/") else []
    paths = [f"{name}{folder}/" for folder in folders] or [name]
    roots += [Root("boxes", split, path) for path in paths if path]
  return roots


def get_synsets(roots: list[Root]) -> set[str]:
  """Returns the classes that roots are named by."""
  return {root.synset for root in roots if root.synset}


def list_files(layout: Layout, root: Root) -> Iterator[File]:
  """Yields the files of a root; one that is hidden is not listed.

  Raises:
    IntegrityError: an archive is damaged; it may come after sound files.
  """
  if root.holds == "astray":
    yield from _list_astray(layout, root)
  elif root.path.endswith("/"):
    for path, refused in tree.list_files(layout.root, root.path.rstrip("/")):
      yield File(tree.to_id(path), (os.fsencode(path),), refused)
  else:
    window = root.window or ()
    for member in archive.list_members(layout.path(root.path), root.name, *window):
      if member.unsafe or not _is_hidden(member.name):
        locator = (os.fsencode(root.path), member.offset, member.size)
        refused = ("unsafe_member", member.unsafe) if member.unsafe else None
        yield File(f"{root.name}/{member.name}", locator, refused)


def read_files(layout: Layout, root: Root) -> Iterator[tuple[File, bytes]]:
  """Yields the files of a folder or of a compressed archive, with their bytes.

  Raises:
    IntegrityError: the archive is damaged; it may come after sound files.
  """
  if root.path.endswith("/"):
    for file in list_files(layout, root):
      path = layout.path(os.fsdecode(*file.locator))
      yield file, b"" if file.refused else storage.read_file(path)
    return
  for member, data in archive.stream_members(layout.path(root.path), root.path):
    if member.unsafe or not _is_hidden(member.name):
      refused = ("unsafe_member", member.unsafe) if member.unsafe else None
      yield File(f"{root.path}/{member.name}", (), refused), data


def number_images(layout: Layout, roots: list[Root]) -> Mapping[int, str]:
  """Returns the class of each image's number, as the class folders tell it."""
  pairs = (
    (ilsvrc_labels.find_number(file.origin), root.synset)
    for root in roots
    if root.synset
    for file in list_files(layout, root)
  )
  return {number: synset for number, synset in pairs if number is not None}


def _find_class_folders(layout: Layout, split: str, name: str) -> list[Root]:
  if not name:
    return []
  folders = tree.find_folders(layout.path(name), ())[""]
  return [
    *(Root("images", split, f"{name}{synset}/", synset) for synset in folders),
    Root("astray", split, name),
  ]


def _list_astray(layout: Layout, root: Root) -> Iterator[File]:
  if not root.path.endswith("/"):
    what = ("unsafe_member", root.unsafe) if root.unsafe else ("no_class", "is no class's archive")
    yield File(root.name, (), what)
  elif storage.is_remote(layout.root):
    for name, _ in storage.list_files(layout.path(root.path)):
      if "/" not in name and not _is_hidden(name):
        yield File(root.path + name, (), ("no_class", "lies beside the class folders"))
  else:
    for path in tree.list_files_beside(layout.root, root.path.rstrip("/")):
      yield File(tree.to_id(path), (), ("no_class", "lies beside the class folders"))


def _is_hidden(path: str) -> bool:
  """What macOS leaves in archives is."""
  return path.rpartition("/")[2].startswith(".")
