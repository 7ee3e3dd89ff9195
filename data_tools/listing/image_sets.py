"""VOC's ImageSets folders: the images of each set, and for each class a list of its truth.

A line of train.txt is an image; one of cat_train.txt (Main) an image and 1, -1 or 0, which is an
image with difficult cats alone; one of jumping_train.txt (Action) an image, the number of the
person among the objects of its annotation, from 1, and 1 or -1.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from data_tools import storage
from vggtf import errors

_IMAGE = re.compile(r"\w[\w.-]*")
_VALUES = {"1": 1, "0": 0, "-1": -1}


@dataclasses.dataclass(frozen=True)
class Truth:
  """Labels of the classes that are there, and of those of which it is open; both ascending."""

  labels: tuple[int, ...]
  uncertain: tuple[int, ...]


def read_images(folder: str, name: str) -> list[str]:
  """Returns the images of the set `name`, as the file lists them.

  Raises:
    UsageError: a line is no image's name.
  """
  return [fields[0] for _, fields in _read(storage.join(folder, f"{name}.txt"))]


def has_truth(folder: str, name: str, classes: Iterable[str]) -> bool:
  """Returns whether there are the classes' lists for a set.

  Raises:
    UsageError: there are some and not all.
  """
  lists = [f"{key}_{name}.txt" for key in classes]
  missing = [file for file in lists if not storage.is_file(storage.join(folder, file))]
  if missing and len(missing) < len(lists):
    raise errors.UsageError(
      f"{folder} lacks {len(missing)} of the classes' {len(lists)} lists: "
      f"{', '.join(missing[:5])}; complete them, or remove them all"
    )
  return not missing


def read_truth(folder: str, name: str, classes: Mapping[int, str]) -> dict[str, Truth]:
  """Returns what the classes' lists of a set in Main say of its images.

  Args:
    folder: of the lists.
    name: the set.
    classes: label and name of those that have lists.

  Raises:
    UsageError: a line is malformed or comes twice, or the lists are not of the set's images.
  """
  values = _read_values(folder, name, classes, 2)
  listed = set(read_images(folder, name))
  uneven = listed ^ set(values) | {key for key, of in values.items() if len(of) < len(classes)}
  if uneven:
    raise errors.UsageError(
      f"{folder}: {len(uneven)} images are not in all of {name}.txt and the {len(classes)} "
      f"<class>_{name}.txt: {', '.join(sorted(uneven)[:5])}; restore the lists"
    )
  return {key: _judge(of, classes) for key, of in values.items()}


def read_person_truth(folder: str, name: str, classes: Mapping[int, str]) -> dict[str, Truth]:
  """Returns what the classes' lists of a set in Action say, by "<image>#<number>".

  A person need not be in each list: it is open whether those of earlier years jump.

  Raises:
    UsageError: a line is malformed or comes twice.
  """
  values = _read_values(folder, name, classes, 3)
  return {key: _judge(of, classes) for key, of in values.items()}


def _judge(values: Mapping[int, int], classes: Iterable[int]) -> Truth:
  labels = sorted(classes)
  return Truth(
    tuple(label for label in labels if values.get(label) == 1),
    tuple(label for label in labels if not values.get(label)),
  )


def _read_values(
  folder: str, name: str, classes: Mapping[int, str], width: int
) -> dict[str, dict[int, int]]:
  values: dict[str, dict[int, int]] = {}
  for label, key in classes.items():
    path = storage.join(folder, f"{key}_{name}.txt")
    for number, fields in _read(path):
      of = values.setdefault("#".join(fields[:-1]), {})
      if len(fields) != width or fields[-1] not in _VALUES or label in of:
        expected = "image, object and" if width == 3 else "image and"
        raise errors.UsageError(
          f"{path}, line {number}: got {' '.join(fields)[:80]!r}, expected {expected} 1, 0 or -1, "
          "each once"
        )
      of[label] = _VALUES[fields[-1]]
  return values


def _read(path: str) -> Iterator[tuple[int, list[str]]]:
  for number, line in enumerate(storage.read_file(path).decode("utf-8", "replace").split("\n"), 1):
    fields = line.split()
    if not fields:
      continue
    is_object = len(fields) < 3 or (fields[1].isascii() and fields[1].isdigit())
    if not _IMAGE.fullmatch(fields[0]) or not is_object:
      raise errors.UsageError(
        f"{path}, line {number}: got {line.strip()[:80]!r}, expected the name of an image"
      )
    yield number, fields
