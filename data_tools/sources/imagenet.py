"""ImageNet's ILSVRC2012: its archives as they come, extracted, or as Kaggle lays them out.

Archives are read where they lie and never extracted. All layouts give the same ids, labels and
splits, and so the same shards:

  train/n01440764/n01440764_10026.JPEG        validation/ILSVRC2012_val_00000001.JPEG

Labels are 0..999 in the sorted order of the WNIDs: those of the devkit or of Kaggle's list, where
there is one, else those that the folders or archives are named by.
"""

import argparse
import dataclasses
import os
from collections.abc import Mapping

from data_tools import storage
from data_tools.listing import (
  ilsvrc_classes,
  ilsvrc_devkit,
  ilsvrc_labels,
  ilsvrc_layout,
  ilsvrc_roots,
  ilsvrc_sums,
)
from data_tools.listing.class_text import read_texts
from data_tools.listing.ilsvrc import IMAGES, ImageNet
from data_tools.listing.ilsvrc_devkit import Devkit
from data_tools.listing.ilsvrc_layout import Layout
from data_tools.listing.ilsvrc_roots import Root
from vggtf import errors

DEFAULT_SHARDS = "train=1024,validation=128"


def add_flags(parser: argparse.ArgumentParser):
  """Adds the flags of this source."""
  add = parser.add_argument
  add("--input", required=True, metavar="DIR", help="the folder, or gs:// path, of the archives")
  add("--devkit", metavar="PATH", help="the devkit, archive or folder (default: in the input)")
  add(
    "--val_labels",
    metavar="FILE",
    help="classes of the validation images: Kaggle's csv, or a WNID (with a devkit also an "
    "ILSVRC2012_ID) a line in the order of their numbers (default: in the input)",
  )
  add("--no_boxes", action="store_true", help="leave out the bounding boxes that are found")
  add("--clip_boxes", action="store_true", help="cut boxes at the image's edges; else refuse them")
  add("--verify_md5", action="store_true", help="first compare the archives with known MD5 sums")
  add("--partial", action="store_true", help="it is a part: do not ask for all 1,331,167 images")
  add(
    "--class_text",
    metavar="FILE",
    help="readable class names: a line is the WNID, a tab, the text",
  )


def open_source(arguments: argparse.Namespace) -> ImageNet:
  """Returns the source that the flags describe.

  Raises:
    UsageError: the layout is not understood, or lists of classes or labels are wrong.
    RejectedInputError: a class has two archives.
    IntegrityError: an archive is damaged.
  """
  layout = _find_layout(arguments)
  devkit_path = storage.absolute(arguments.devkit) if arguments.devkit else ""
  devkit_path = devkit_path or (layout.path(layout.devkit) if layout.devkit else "")
  if arguments.verify_md5:
    archives = {name: layout.path(name) for name in layout.archives()}
    ilsvrc_sums.verify(archives | {os.path.basename(devkit_path): devkit_path})

  devkit = ilsvrc_devkit.read(devkit_path) if devkit_path else None
  roots = {"train": ilsvrc_roots.find_train(layout)}
  roots["validation"] = ilsvrc_roots.find_validation(layout)
  numbered = _number_validation(layout, roots["validation"], arguments.val_labels, devkit)
  named = {getattr(layout, split): ilsvrc_roots.get_synsets(roots[split]) for split in IMAGES}
  named["the list of validation labels"] = set(numbered.values())
  where, synsets = ilsvrc_classes.find_synsets(layout, devkit, named)
  ilsvrc_classes.check(where, synsets, named, arguments.partial)
  if not arguments.partial and numbered and len(numbered) != IMAGES["validation"]:
    raise errors.UsageError(
      f"there are {len(numbered):,} labels of validation images, expected {IMAGES['validation']:,}"
      "; mend their list, or say --partial"
    )
  labels = {key: label for label, (key, _) in enumerate(synsets)}
  texts = read_texts(arguments.class_text, [*labels]) if arguments.class_text else {}
  return ImageNet(
    layout=layout,
    class_texts=tuple((key, texts.get(key, text)) for key, text in synsets),
    pieces=(*roots["train"], *roots["validation"], *ilsvrc_roots.find_boxes(layout)),
    numbered={number: labels[key] for number, key in numbered.items()},
    train_images=devkit.train_images if devkit else {},
    clip_boxes=arguments.clip_boxes,
    partial=arguments.partial,
    md5_verified=arguments.verify_md5,
    lists={
      "devkit": os.path.basename(devkit_path),
      "val_labels": os.path.basename(arguments.val_labels or ""),
    },
  )


def _find_layout(arguments: argparse.Namespace) -> Layout:
  layout = ilsvrc_layout.find(storage.absolute(arguments.input))
  for split in IMAGES:
    if not getattr(layout, split):
      if not arguments.partial:
        raise errors.UsageError(
          f"--input={arguments.input} has no {split} images; add them, or say --partial"
        )
      layout = dataclasses.replace(layout, **{f"{split}_boxes": ""})
  if arguments.no_boxes:
    layout = dataclasses.replace(layout, train_boxes="", validation_boxes="")
  if arguments.clip_boxes and not (layout.train_boxes or layout.validation_boxes):
    raise errors.UsageError("--clip_boxes: there are no boxes in use; leave the flag out")
  return layout


def _number_validation(
  layout: Layout, roots: list[Root], given: str | None, devkit: Devkit | None
) -> Mapping[int, str]:
  """Returns the WNID of each validation image's number, if their folders or boxes need it."""
  if any(root.synset for root in roots):
    if given:
      raise errors.UsageError(
        f"--val_labels={given}: {layout.validation} has class folders, which are the labels; leave "
        "the flag out"
      )
    return ilsvrc_roots.number_images(layout, roots) if layout.validation_boxes else {}
  if not roots:
    if given:
      raise errors.UsageError(f"--val_labels={given}: there are no validation images; leave it out")
    return {}
  if given:
    return ilsvrc_labels.read_validation(storage.absolute(given), devkit)
  if devkit:
    return ilsvrc_labels.of_devkit(devkit)
  if layout.solution:
    return ilsvrc_labels.read_validation(layout.path(layout.solution), None)
  raise errors.UsageError(
    f"{layout.path(layout.validation)} has no labels; looked beside it for the devkit and for "
    "LOC_val_solution.csv: give --devkit or --val_labels"
  )
