"""The sets of images in a VOC folder: which are asked for, and where the truth of each is."""

import os
import re

from data_tools import storage
from data_tools.listing import image_sets, tree
from vggtf import errors

OTHER = "other"  # who does none of the ten actions; the one class without lists
_OBJECTS = """
aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person
pottedplant sheep sofa train tvmonitor
"""
_ACTIONS = """
jumping other phoning playinginstrument reading ridingbike ridinghorse running takingphoto
usingcomputer walking
"""
TASKS = {"main": tuple(_OBJECTS.split()), "action": tuple(_ACTIONS.split())}  # in label order
SPLITS = {"train": "train", "val": "validation", "test": "test", "trainval": "train"}
_YEAR = re.compile(r"VOC\d{4}")


def find_root(given: str) -> str:
  """Returns the folder VOC<year> that is given, or the only one in the given folder.

  Raises:
    UsageError: there is none, or more than one.
  """
  root = storage.absolute(given)
  if not storage.is_folder(root):
    raise errors.UsageError(f"--input={given}: no such folder")
  if _YEAR.fullmatch(get_name(root)):
    return root
  found = tree.find_folders(root, ("VOCdevkit",))
  years = [
    tree.join(above, name)
    for above in ("", "VOCdevkit")
    for name in found.get(above, ())
    if _YEAR.fullmatch(name)
  ]
  if len(years) != 1:
    held = f"holds {', '.join(years)}" if years else "is no folder VOC<year> and holds none"
    raise errors.UsageError(f"--input={given} {held}; expected one, as VOCdevkit/VOC2007")
  return storage.join(root, years[0])


def get_name(root: str) -> str:
  """Returns the last part of a folder's path: VOC<year>."""
  return os.path.basename(root)


def join_sets(root: str, task: str) -> str:
  """Returns the folder of a task's sets."""
  return storage.join(root, f"ImageSets/{task.capitalize()}")


def choose_sets(root: str, task: str, asked: str | None) -> tuple[tuple[str, bool], ...]:
  """Returns (set, whether the classes' lists say its truth; if not, the annotations do).

  Args:
    root: the folder VOC<year>.
    task: a key of `TASKS`.
    asked: sets with commas between them; None for those there are, without trainval.

  Raises:
    UsageError: a set or its truth is missing, or two sets have the same images.
  """
  folder = join_sets(root, task)
  there = [name for name in SPLITS if storage.is_file(storage.join(folder, f"{name}.txt"))]
  if asked is None:
    sets = [name for name in there if name != "trainval"]
  else:
    sets = [name.strip() for name in asked.split(",")]
  if not sets or not set(sets) <= set(there):
    flag = f"--voc_splits={asked}: " if asked is not None else ""
    raise errors.UsageError(
      f"{flag}{folder} has {', '.join(f'{name}.txt' for name in there) or 'no sets'}; expected "
      f"sets of {', '.join(SPLITS)}"
    )
  if len({SPLITS[name] for name in sets}) < len(sets) or {"trainval", "val"} <= set(sets):
    raise errors.UsageError(f"--voc_splits={asked}: names images twice; trainval is train and val")
  return tuple((name, _find_truth(root, task, name)) for name in sets)


def _find_truth(root: str, task: str, name: str) -> bool:
  folder = join_sets(root, task)
  if image_sets.has_truth(folder, name, [key for key in TASKS[task] if key != OTHER]):
    return True
  missing = image_sets.read_images(folder, name)
  if task == "main":
    found = {path for path, _ in storage.list_files(storage.join(root, "Annotations"))}
    missing = [image for image in missing if f"{image}.xml" not in found]
  if missing:
    raise errors.UsageError(
      f"{folder} has {name}.txt but no {TASKS[task][0]}_{name}.txt and so on, and no annotation "
      f"says the truth of {len(missing)} of its images ({missing[0]}); VOC has published none for "
      "some test sets: name the other sets, as --voc_splits=train,val"
    )
  return False
