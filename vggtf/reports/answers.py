"""Answers to single images, kept so that fusions and errors of classes need no second pass.

RUN/evaluations/<details>/
  answers.npz    contracts.Answers, the class names, and what was measured
  classes.csv    images and errors of every class, the worst first
  confusion.csv  which class was taken for which, and how often
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vggtf import contracts, errors, workdir

FOLDER, NAME = "evaluations", "answers.npz"


class Kept(NamedTuple):
  """Answers and what they are of.

  answers: as they were given. labels: class names in label order. line: of results.jsonl, without
  metric and value.
  """

  answers: contracts.Answers
  labels: tuple[str, ...]
  line: dict


def save(folder: Path, kept: Kept) -> None:
  """Writes all files of a measurement; each is whole or not there.

  Args:
    folder: the run's folder.
    kept: what to write; its line names the folder below evaluations/.
  """
  place = folder / FOLDER / kept.line["details"]
  place.mkdir(parents=True, exist_ok=True)
  arrays = {name: value for name, value in kept.answers._asdict().items() if value is not None}
  about = json.dumps({"labels": kept.labels, "line": kept.line})
  arrays |= {"id": kept.answers.id.astype("S"), "about": np.array(about)}
  aside = place / f".{NAME}.{os.getpid()}"
  try:
    with open(aside, "wb") as file:
      np.savez(file, **arrays)
    os.replace(aside, place / NAME)
  finally:
    aside.unlink(missing_ok=True)
  heading = ("class", "images", "top1_error", "top5_error")
  workdir.write_text(place / "classes.csv", _csv(heading, class_errors(kept)))
  heading = ("class", "taken for", "images")
  workdir.write_text(place / "confusion.csv", _csv(heading, confusions(kept)))


def load(path: Path) -> Kept:
  """Returns what `save` wrote.

  Raises:
    UsageError: there is no such file.
    IntegrityError: the file is damaged.
  """
  try:
    with np.load(path) as file:
      about = json.loads(str(file["about"]))
      arrays = {name: file[name] for name in contracts.Answers._fields if name in file}
    return Kept(contracts.Answers(**arrays), tuple(about["labels"]), about["line"])
  except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
    raise errors.UsageError(f"there is no file {path}; --job=evaluate writes it") from None
  except (ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile):
    raise errors.IntegrityError(f"{path} is damaged; evaluate again") from None


def class_errors(kept: Kept) -> list[tuple[str, int, float, float]]:
  """Returns name, images, top-1 and top-5 error of each class with images, the worst first."""
  label, classes = kept.answers.label, kept.answers.classes
  size = len(kept.labels)
  images = np.bincount(label, minlength=size)
  wrong = [
    np.bincount(label[(classes[:, :k] != label[:, np.newaxis]).all(axis=1)], minlength=size)
    for k in (1, 5)
  ]
  rows = [
    (kept.labels[one], int(images[one]), *(float(w[one] / images[one]) for w in wrong))
    for one in np.flatnonzero(images)
  ]
  return sorted(rows, key=lambda row: (-row[2], -row[3], row[0]))


def confusions(kept: Kept) -> list[tuple[str, str, int]]:
  """Returns class, the other that it was taken for, and how often; the most frequent first."""
  size = len(kept.labels)
  pairs = kept.answers.label.astype(np.int64) * size + kept.answers.classes[:, 0]
  found, counts = np.unique(pairs, return_counts=True)
  rows = [
    (kept.labels[pair // size], kept.labels[pair % size], int(count))
    for pair, count in zip(found.tolist(), counts.tolist(), strict=True)
    if pair // size != pair % size
  ]
  return sorted(rows, key=lambda row: (-row[2], row[:2]))


def worst_mistakes(kept: Kept, count: int) -> list[tuple[str, str, str, float]]:
  """Returns id, class, answered class and its probability, the surest mistakes first."""
  answers = kept.answers
  wrong = np.flatnonzero(answers.classes[:, 0] != answers.label)
  surest = wrong[np.argsort(-answers.probabilities[wrong, 0], kind="stable")][:count]
  return [
    (
      answers.id[one].decode(),
      kept.labels[answers.label[one]],
      kept.labels[answers.classes[one, 0]],
      float(answers.probabilities[one, 0]),
    )
    for one in surest
  ]


def _csv(heading: Sequence[str], rows: Sequence[tuple]) -> str:
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(heading)
  writer.writerows(rows)
  return text.getvalue()
