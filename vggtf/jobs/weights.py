"""--job=weights: converts weights between all the places where people keep them."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

from vggtf import errors, weights
from vggtf.data import shards
from vggtf.weights import checkpoints, files

_log = logging.getLogger(__name__)


def run(
  source: str,
  target: str,
  data_dir: str | None = None,
  which: str = "raw",
  checkpoint_choice: str = "latest",
  preprocessing: str | None = None,
  layout: str = "torchvision",
) -> None:
  """Reads the source, checks every tensor of it, and writes the target, or nothing.

  Args:
    source: a file of any format, recognised by its content, or a run's folder.
    target: a file, whose suffix names the format, or without a suffix a new run's folder, which
      can be evaluated, exported and taken as first weights.
    data_dir: a converted data set of the net's classes, for their names where the source has none.
    which: of a run: "raw" weights, or "ema" for their averages.
    checkpoint_choice: of a run: "latest" or "best".
    preprocessing: what the source's net does to pixels, where neither the note beside the file nor
      the custom of its format is right: "rgb" or "bgr" levels less ILSVRC's mean, or "torchvision".
    layout: names in PyTorch's formats, "torchvision" or "timm".

  Raises:
    UsageError: a path is not there or is taken, a format is unknown or cannot hold the net.
    IntegrityError: the source is damaged, or no whole VGG; all that is wrong is listed.
  """
  to_file = files.is_file(target)
  found = weights.read(source, which, checkpoint_choice, preprocessing)
  if data_dir:
    found = _labelled(found, data_dir)
  if to_file:
    weights.write(target, found, layout)
  else:
    data = os.path.abspath(data_dir) if data_dir and "://" not in data_dir else data_dir or ""
    checkpoints.write_run(Path(target), _numbered(found), data)
  facts = found.facts
  classes = "no class names" if facts.labels is None else f"{len(facts.labels)} class names"
  mean = ", ".join(f"{level:g}" for level in facts.mean_rgb)
  rounding = f"poolings round to the {facts.pool_rounding}"
  print(f"{target}: {len(found.tensors)} tensors, mean RGB {mean}, {rounding}, {classes}")


def _labelled(found: weights.Weights, data_dir: str) -> weights.Weights:
  """Returns the weights with the names of a data set's classes."""
  labels = tuple(text for _, text in shards.read_manifest(data_dir).labels)
  last = found.tensors.get("fc8/biases")
  if last is not None and last.size != len(labels):
    raise errors.UsageError(
      f"fc8 has {last.size} classes, {data_dir} has {len(labels)}: convert without --data_dir, and "
      "train a new fc8 from it with train.run.initial (gin/finetune.gin)"
    )
  return dataclasses.replace(found, facts=dataclasses.replace(found.facts, labels=labels))


def _numbered(found: weights.Weights) -> weights.Weights:
  """Returns the weights with numbers for names of classes where nobody kept them."""
  if found.facts.labels is not None or "fc8/biases" not in found.tensors:
    return found
  count = found.tensors["fc8/biases"].size
  _log.warning("the names of the %d classes are not known; --data_dir=DATA gives them", count)
  labels = tuple(f"class {number}" for number in range(count))
  return dataclasses.replace(found, facts=dataclasses.replace(found.facts, labels=labels))
