"""The source of ILSVRC2012: its images, their labels and boxes, and whether all are there."""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from data_tools import storage
from data_tools.listing import archive, ilsvrc_boxes, ilsvrc_labels, ilsvrc_roots
from data_tools.listing.ilsvrc_layout import Layout
from data_tools.listing.ilsvrc_roots import File, Root
from data_tools.source import Annotation, Item
from vggtf import errors

IMAGES = {"train": 1_281_167, "validation": 50_000}
_TRAIN_NAME = re.compile(r"(n\d{8})_\d+\.\w+")
_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ImageNet:
  """The source; `sources/imagenet.py` opens it.

  Attributes:
    layout: where its parts are.
    class_texts: (WNID, readable name), sorted.
    pieces: what is listed.
    numbered: label of each validation image's number, where no folder tells it.
    train_images: how many training images each class has, by WNID, as far as is known.
    clip_boxes: cut boxes at the edges of the image.
    partial: the totals of the whole are not asked for.
    md5_verified: the archives are those that were published.
    lists: names of the devkit and of the file of validation labels that was given, or "".
  """

  layout: Layout
  class_texts: tuple[tuple[str, str], ...]
  pieces: tuple[Root, ...]
  numbered: Mapping[int, int]
  train_images: Mapping[str, int]
  clip_boxes: bool
  partial: bool
  md5_verified: bool
  lists: Mapping[str, str]

  def splits(self) -> list[str]:
    """Returns train and validation; a part may lack one."""
    return [split for split in IMAGES if getattr(self.layout, split)]

  def classes(self) -> tuple[tuple[str, str], ...]:
    """Returns (WNID, words) in the sorted order of the WNIDs."""
    return self.class_texts

  def roots(self) -> tuple[Root, ...]:
    """Returns class folders or archives, that of the validation images, and those of boxes."""
    return self.pieces

  def list_items(self, root: Root) -> Iterator[Item | Annotation]:
    """Yields the images, or the boxes, of one root.

    Raises:
      IntegrityError: an archive is damaged.
      RejectedInputError: validation images and labels do not pair up, and it is no part.
    """
    labels = {key: label for label, (key, _) in enumerate(self.class_texts)}
    if root.holds == "boxes":
      yield from self._list_boxes(root, labels)
    elif root.split == "validation" and root.holds == "images" and not root.synset:
      yield from self._list_numbered(root)
    else:
      try:
        for file in ilsvrc_roots.list_files(self.layout, root):
          yield _make_item(root, file, labels.get(root.synset, 0))
      except errors.IntegrityError as error:
        expected = self.train_images.get(root.synset)
        said = f"; class {root.synset} should have {expected} images" if expected else ""
        raise errors.IntegrityError(f"{error}{said}") from None

  def check_counts(self, counts: Mapping[tuple[str, int], int]):
    """Raises IntegrityError if it should be the whole of ILSVRC2012 and is not."""
    if self.partial:
      return
    totals: Counter[str] = Counter()
    for (split, _), number in counts.items():
      totals[split] += number
    wrong = [
      f"{split} has {totals[split]:,} of {expected:,} images"
      for split, expected in IMAGES.items()
      if totals[split] != expected
    ]
    found = {
      key: counts.get(("train", label), 0) for label, (key, _) in enumerate(self.class_texts)
    }
    short = [
      f"class {key} has {found[key]} of {expected}"
      for key, expected in self.train_images.items()
      if found[key] != expected
    ]
    if wrong or short:
      more = [f"and {len(short) - _SHOWN} more classes"] if len(short) > _SHOWN else []
      raise errors.IntegrityError(
        f"this is not all of ILSVRC2012: {', '.join([*wrong, *short[:_SHOWN], *more])}; get what "
        "is missing again, or say --partial"
      )

  def read(self, item: Item) -> bytes:
    """Returns the image's bytes, from its file or out of the archive."""
    name, *place = item.locator
    path = self.layout.path(os.fsdecode(name))
    return archive.read_range(path, *place, item.origin) if place else storage.read_file(path)

  def describe(self) -> dict:
    """Returns the layout, the archives' sizes, and what was asked of boxes and totals."""
    archives = self.layout.archives()
    return {
      "name": "imagenet",
      "layout": self.layout.parts(),
      "archive_bytes": {name: storage.get_size(self.layout.path(name)) for name in archives},
      **self.lists,
      "boxes": any(root.holds == "boxes" for root in self.pieces),
      "clip_boxes": self.clip_boxes,
      "md5_verified": self.md5_verified,
      "partial": self.partial,
    }

  def _list_numbered(self, root: Root) -> Iterator[Item]:
    found, unlabelled = set(), []
    for file in ilsvrc_roots.list_files(self.layout, root):
      number = ilsvrc_labels.find_number(file.origin)
      found.add(number)
      label = self.numbered.get(number)
      if label is None and not file.refused:
        unlabelled.append(file.origin)
        file = dataclasses.replace(file, refused=("no_label", "the labels lack its number"))
      yield _make_item(root, file, label or 0)
    missing = sorted(set(self.numbered) - found)
    if (missing or unlabelled) and not self.partial:
      raise errors.RejectedInputError(
        f"{root.path}: {len(missing)} of {len(self.numbered)} labels have no image: numbers "
        f"{missing[:_SHOWN]}; {len(unlabelled)} images have no label: {unlabelled[:_SHOWN]}; get "
        "images and labels again, or say --partial"
      )

  def _list_boxes(self, root: Root, labels: Mapping[str, int]) -> Iterator[Annotation]:
    names = ilsvrc_boxes.name_classes(self.class_texts)
    for file, data in ilsvrc_roots.read_files(self.layout, root):
      stem = file.origin.rpartition("/")[2].removesuffix(".xml")
      if root.split == "train":
        key = stem.partition("_")[0]
        id_, label = f"train/{key}/{stem}.JPEG", labels.get(key)
      else:
        id_ = f"validation/{stem}.JPEG"
        label = self.numbered.get(ilsvrc_labels.find_number(stem))
      if file.refused:
        yield Annotation(id_, root.split, file.origin, refused=file.refused)
      elif label is not None or not self.partial:  # boxes of what is not in the part are no fault
        boxes = ilsvrc_boxes.read(data, label, names, self.clip_boxes)
        yield Annotation(id_, root.split, file.origin, *boxes)


def _make_item(root: Root, file: File, label: int) -> Item:
  """One name in two classes becomes one id, which the conversion refuses."""
  name, refused = file.origin.rpartition("/")[2], file.refused
  if root.split == "validation":
    return Item(f"validation/{name}", "validation", label, file.origin, file.locator, refused)
  said = _TRAIN_NAME.fullmatch(name)
  key = said[1] if said else root.synset
  if root.synset and key != root.synset and not refused:
    refused = ("wrong_class", f"its name says {key}, it lies with {root.synset}")
  id_ = f"train/{key}/{name}" if key else f"train/{name}"
  return Item(id_, "train", label, file.origin, file.locator, refused)
