"""PASCAL VOC 2007 to 2012: images of several classes, with boxes; or people and their actions.

The input is a folder VOC<year>, or the one (VOCdevkit) that holds it. Which classes an image shows
is what ImageSets/Main/<class>_<set>.txt say, as VOC's own evaluation asks them; where there are
none, the objects of its annotation say it. A class with difficult objects alone is uncertain.

With --voc_task=action an item is a person of ImageSets/Action: the image as often as it has people,
each with one box. "other" has no list: it is who does none of the ten.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Mapping

from data_tools import storage
from data_tools.listing import annotation, image_sets, voc_layout
from data_tools.listing.image_sets import Truth
from data_tools.listing.voc_layout import OTHER, SPLITS, TASKS
from data_tools.source import Annotation, Item


def add_flags(parser: argparse.ArgumentParser):
  """Adds the flags of this source."""
  parser.add_argument(
    "--input", required=True, metavar="DIR", help="VOC2007 or the like, or the VOCdevkit around it"
  )
  parser.add_argument(
    "--voc_task",
    choices=tuple(TASKS),
    default="main",
    help="main: the 20 classes of objects; action: what people do (default main)",
  )
  parser.add_argument(
    "--voc_splits",
    metavar="SETS",
    help="sets, as trainval,test (default: those there are of train, val and test); val becomes "
    "the split validation, trainval the split train",
  )


def open_source(arguments: argparse.Namespace) -> "Voc":
  """Returns the source that the flags describe.

  Raises:
    UsageError: the folder, a set or its truth is missing.
  """
  root = voc_layout.find_root(arguments.input)
  sets = voc_layout.choose_sets(root, arguments.voc_task, arguments.voc_splits)
  return Voc(root, arguments.voc_task, sets)


@dataclasses.dataclass(frozen=True)
class Voc:
  """The source; `sets` are (name, whether the classes' lists say its truth)."""

  root: str
  task: str
  sets: tuple[tuple[str, bool], ...]

  def splits(self) -> list[str]:
    """Returns the splits that the sets become."""
    return [SPLITS[name] for name, _ in self.sets]

  def classes(self) -> list[tuple[str, str]]:
    """Returns the 20 objects, or the 10 actions and "other", as keys and as texts, sorted."""
    return [(key, key) for key in TASKS[self.task]]

  def roots(self) -> list[tuple[str, bool]]:
    """Returns the sets."""
    return list(self.sets)

  def list_items(self, root: tuple[str, bool]) -> Iterator[Item | Annotation]:
    """Yields the items of one set, each with its annotation.

    Raises:
      UsageError: the set's lists are malformed or contradict one another.
    """
    name, listed = root
    folder = voc_layout.join_sets(self.root, self.task)
    lists = {label: key for label, key in enumerate(TASKS[self.task]) if key != OTHER}
    if self.task == "action":
      for person, truth in image_sets.read_person_truth(folder, name, lists).items():
        yield from self._list_person(person, SPLITS[name], _add_other(truth))
    elif listed:
      for image, truth in image_sets.read_truth(folder, name, lists).items():
        yield from self._list_image(image, SPLITS[name], truth)
    else:
      for image in image_sets.read_images(folder, name):
        yield from self._list_image(image, SPLITS[name], None)

  def check_counts(self, counts: Mapping[tuple[str, int], int]):
    """Demands nothing: the sets' lists name each image that there should be."""

  def read(self, item: Item) -> bytes:
    """Returns the image file's bytes."""
    (image,) = item.locator
    return storage.read_file(storage.join(self.root, f"JPEGImages/{image}.jpg"))

  def describe(self) -> dict:
    """Returns year, task, sets, and where the truth of each is from."""
    return {
      "name": "voc",
      "year": voc_layout.get_name(self.root),
      "task": self.task,
      "truth": {name: "ImageSets" if listed else "Annotations" for name, listed in self.sets},
    }

  def _list_image(self, image: str, split: str, truth: Truth | None) -> Iterator[Item | Annotation]:
    labels = {key: label for label, (key, _) in enumerate(self.classes())}
    boxes, refused = self._read_boxes(image, labels.get, slice(None))
    if truth is None and not refused:
      sure = {box.label for box in boxes if not box.difficult}
      truth = Truth(tuple(sorted(sure)), tuple(sorted({box.label for box in boxes} - sure)))
    id_ = f"{voc_layout.get_name(self.root)}/{image}.jpg"
    yield _make_item(id_, split, f"JPEGImages/{image}.jpg", image, truth)
    yield Annotation(id_, split, f"Annotations/{image}.xml", boxes, refused)

  def _list_person(self, person: str, split: str, truth: Truth) -> Iterator[Item | Annotation]:
    image, _, number = person.partition("#")
    id_ = f"{voc_layout.get_name(self.root)}/{person}"
    item = _make_item(id_, split, f"JPEGImages/{image}.jpg, object {number}", image, truth)
    label_of = {"person": item.label}.get
    boxes, refused = self._read_boxes(image, label_of, slice(int(number) - 1, int(number)))
    yield item
    yield Annotation(id_, split, f"Annotations/{image}.xml, object {number}", boxes, refused)

  def _read_boxes(self, image: str, label_of, which: slice):
    try:
      data = storage.read_file(storage.join(self.root, f"Annotations/{image}.xml"))
      parsed = annotation.parse(data)
      chosen = dataclasses.replace(parsed, objects=parsed.objects[which])
      if not chosen.objects:
        raise annotation.Unusable("box_no_object", f"it has {len(parsed.objects)} objects")
      return annotation.to_boxes(chosen, label_of, clip=False), None
    except FileNotFoundError:
      return (), ("box_no_file", "no such file")
    except annotation.Unusable as unusable:
      return (), (unusable.reason, unusable.detail)


def _make_item(id_: str, split: str, origin: str, image: str, truth: Truth | None) -> Item:
  labels, uncertain = (truth.labels, truth.uncertain) if truth else ((), ())
  refused = None
  if truth is None:
    refused = ("no_truth", "its annotation, which should say the classes, cannot be used")
  elif not labels + uncertain:
    refused = ("no_class", "shows none of the classes")
  label = next(iter(labels + uncertain), 0)
  return Item(id_, split, label, origin, (image,), refused, labels=labels, uncertain=uncertain)


def _add_other(truth: Truth) -> Truth:
  other = TASKS["action"].index(OTHER)
  if truth.labels:
    return truth
  if truth.uncertain:
    return Truth((), tuple(sorted((*truth.uncertain, other))))
  return Truth((other,), ())
