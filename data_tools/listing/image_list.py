"""Images that a CSV file lists: path,label[,split], in any order, with that header.

Paths are relative to the input and may not leave it; ids are these paths. The classes are the
labels, sorted; an image without a split is a training image. A listed file that is missing is
refused like any unreadable one.
"""

import argparse
import csv
import dataclasses
import hashlib
import io
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from data_tools import storage
from data_tools.listing import hold_out
from data_tools.listing.class_text import read_texts
from data_tools.listing.hold_out import HoldOut
from data_tools.source import Item
from vggtf import errors

_NEEDED = {"path", "label"}
_COLUMNS = {*_NEEDED, "split"}
_SHOWN = 20  # bad lines in a message
_ALIASES = {"": "train", "val": "validation"}


@dataclasses.dataclass(frozen=True)
class _Line:
  number: int
  path: str
  label: str
  split: str
  complaint: str | None


def open_list(root: str, arguments: argparse.Namespace) -> "ImageList":
  """Returns the source that --csv, --class_text and --validation_fraction describe.

  Args:
    root: what the paths are relative to.
    arguments: the parsed flags.

  Raises:
    UsageError: the file is missing or no such list; the message names each bad line.
  """
  path = storage.absolute(arguments.csv)
  try:
    data = storage.read_file(path)
  except storage.NO_FILE:
    raise errors.UsageError(f"--csv={arguments.csv}: no such file") from None
  columns, lines = _parse(data, arguments.csv)
  given = f"{arguments.csv} has the column split" if "split" in columns else None
  held_out = hold_out.from_flags(arguments, given)
  labels, splits, bad = set(), set(), []
  for line in lines:
    labels.add(line.label)
    splits.add(line.split)
    if line.complaint:
      bad.append(f"{line.number} ({line.complaint})")
  if bad:
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    raise errors.UsageError(
      f"--csv={arguments.csv}: {len(bad)} bad lines: {', '.join(bad[:_SHOWN])}{more}"
    )
  if not labels:
    raise errors.UsageError(f"--csv={arguments.csv}: lists no images")
  keys = sorted(labels)
  texts = read_texts(arguments.class_text, keys) if arguments.class_text else {}
  return ImageList(
    root=root,
    csv=path,
    sha256=hashlib.sha256(data).hexdigest(),
    found_splits=tuple(sorted(splits, key=lambda split: (split != "train", split))),
    class_texts=tuple((key, texts.get(key, key)) for key in keys),
    held_out=held_out,
  )


@dataclasses.dataclass(frozen=True)
class ImageList:
  """The source; it does not hold the list, which may be large, but reads it where it lists."""

  root: str
  csv: str
  sha256: str
  found_splits: tuple[str, ...]
  class_texts: tuple[tuple[str, str], ...]
  held_out: HoldOut

  def splits(self) -> list[str]:
    """Returns those of the list, train first, and validation where a part is held out."""
    return self.held_out.splits(list(self.found_splits))

  def classes(self) -> tuple[tuple[str, str], ...]:
    """Returns (label, readable name) in the sorted order of the labels."""
    return self.class_texts

  def roots(self) -> list[str]:
    """Returns the list's path: it is read by one worker."""
    return [self.csv]

  def list_items(self, root: str) -> Iterator[Item]:
    """Yields the images of the list.

    Raises:
      IntegrityError: the list is not what it was at the start.
    """
    data = storage.read_file(root)
    if hashlib.sha256(data).hexdigest() != self.sha256:
      raise errors.IntegrityError(f"{root} has changed since the conversion began; run it again")
    labels = {key: label for label, (key, _) in enumerate(self.class_texts)}
    for line in _parse(data, root)[1]:
      split = self.held_out.choose(line.path, line.split)
      yield Item(
        line.path, split, labels[line.label], f"{line.path}, line {line.number}", (line.path,)
      )

  def check_counts(self, counts: Mapping[tuple[str, int], int]):
    """Raises UsageError if there are training images, but of some class there are none."""
    check_classes(counts, self.class_texts)

  def read(self, item: Item) -> bytes:
    """Returns the file's bytes."""
    (path,) = item.locator
    return storage.read_file(storage.join(self.root, path))

  def describe(self) -> dict:
    """Returns the list's digest and how the splits were made."""
    return {"name": "folder", "csv_sha256": self.sha256, **self.held_out.describe()}


def check_classes(counts: Mapping[tuple[str, int], int], classes: Sequence[tuple[str, str]]):
  """Checks that something can be learned of every class, if anything is to be learned.

  Args:
    counts: images by (split, label).
    classes: (class key, readable name) in label order.

  Raises:
    UsageError: there are training images, but of some class there are none.
  """
  trained = {label for (split, label), count in counts.items() if split == "train" and count}
  missing = [key for label, (key, _) in enumerate(classes) if label not in trained]
  if trained and missing:
    raise errors.UsageError(
      f"{len(missing)} of {len(classes)} classes have no training image: "
      f"{', '.join(missing[:5])}; add images, hold out fewer, or remove the classes"
    )


def _parse(data: bytes, name: str) -> tuple[list[str], Iterator[_Line]]:
  try:
    text = data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise errors.UsageError(f"--csv={name}: not UTF-8 text ({error.reason})") from None
  rows = _read_rows(text, name)
  columns = [column.strip() for column in next(rows, (1, []))[1]]
  if not _NEEDED <= set(columns) <= _COLUMNS or len(set(columns)) < len(columns):
    raise errors.UsageError(
      f"--csv={name}, line 1: got the columns {', '.join(columns) or 'none'}; expected path,label "
      "or path,label,split"
    )
  return columns, (_read_line(number, row, columns) for number, row in rows if row)


def _read_rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
  rows = csv.reader(io.StringIO(text, newline=""), strict=True)
  try:
    for row in rows:
      yield rows.line_num, row
  except csv.Error as error:
    raise errors.UsageError(f"--csv={name}, line {rows.line_num}: {error}") from None


def _read_line(number: int, row: list[str], columns: list[str]) -> _Line:
  if len(row) != len(columns):
    return _Line(number, "", "", "train", f"{len(row)} fields for {len(columns)} columns")
  fields = dict(zip(columns, row, strict=True))
  path, label = posixpath.normpath(fields["path"]), fields["label"].strip()
  split = fields.get("split", "").strip()
  split = _ALIASES.get(split, split)
  complaint = None
  if path == "." or not path.isprintable():
    complaint = "the path is no printable text"
  elif path.startswith(("/", "../")) or path == ".." or "://" in fields["path"]:
    complaint = "the path leaves --input"
  elif not label or not label.isprintable():
    complaint = "the label is no printable text"
  elif not re.fullmatch("[a-z][a-z0-9_]*", split):
    complaint = f"the split {split!r} is no name such as train"
  return _Line(number, path, label, split, complaint)
