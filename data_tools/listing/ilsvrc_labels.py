"""Lists of ImageNet's classes and of the classes of its validation images, as they go round."""

import csv
import re
from collections import Counter
from collections.abc import Iterable

from data_tools import storage
from data_tools.listing import ilsvrc_devkit
from data_tools.listing.ilsvrc_devkit import Devkit
from vggtf import errors

_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\b.*")
_CSV_HEADER = "ImageId,PredictionString"


def find_number(name: str) -> int | None:
  """Returns N of ILSVRC2012_val_N.JPEG, from 1; None for another name."""
  matched = _VALIDATION_NAME.fullmatch(name.rpartition("/")[2])
  return int(matched[1]) if matched else None


def of_devkit(devkit: Devkit) -> dict[int, str]:
  """Returns the WNID of each validation image's number."""
  return {number: devkit.wnids[id_] for number, id_ in enumerate(devkit.truth, 1)}


def read_validation(path: str, devkit: Devkit | None) -> dict[int, str]:
  """Returns the WNID of each validation image's number.

  Args:
    path: Kaggle's LOC_val_solution.csv, or a line an image, in the order of their numbers: its WNID
      or its ILSVRC2012_ID.
    devkit: says what the IDs mean.

  Raises:
    UsageError: the file is missing or something else, names an image twice, or has IDs where there
      is no devkit.
  """
  lines = _read_lines(path)
  if lines and lines[0].strip() == _CSV_HEADER:
    return _read_solution(lines[1:], path)
  if lines and all(line.strip().isdigit() for line in lines):
    if devkit is None:
      raise errors.UsageError(
        f"{path} has ILSVRC2012_IDs, which only the devkit explains; give --devkit, or a file of "
        "WNIDs"
      )
    numbers = ilsvrc_devkit.read_numbers([line.strip() for line in lines], path)
    ilsvrc_devkit.check_ids(numbers, devkit, path)
    return {at: devkit.wnids[number] for at, number in enumerate(numbers, 1)}
  return {at: line.strip() for at, line in enumerate(lines, 1)}


def read_synsets(path: str) -> tuple[tuple[str, str], ...]:
  """Returns the sorted (WNID, words) of Kaggle's LOC_synset_mapping.txt.

  Raises:
    UsageError: a line is no WNID and words, or a WNID is there twice.
  """
  rows = [line.strip().partition(" ") for line in _read_lines(path)]
  wrong = [at for at, (_, _, words) in enumerate(rows, 1) if not words]
  if wrong:
    raise errors.UsageError(f"{path}, line {wrong[0]}: expected a WNID, a space and its words")
  require_once((key for key, _, _ in rows), path)
  return tuple(sorted((key, words) for key, _, words in rows))


def require_once(keys: Iterable, where: str):
  """Raises UsageError, naming the keys, if some are there more than once."""
  twice = [key for key, number in Counter(keys).items() if number > 1]
  if twice:
    raise errors.UsageError(f"{where}: {len(twice)} are there more than once: {twice[:5]}")


def _read_solution(lines: list[str], path: str) -> dict[int, str]:
  rows = list(csv.reader(lines))
  for at, row in enumerate(rows, 2):
    if len(row) != 2 or find_number(row[0]) is None or not row[1].split():
      raise errors.UsageError(
        f"{path}, line {at}: got {','.join(row)[:80]!r}, expected ILSVRC2012_val_00000001,WNID ..."
      )
  require_once((row[0] for row in rows), path)
  return {find_number(name): prediction.split()[0] for name, prediction in rows}


def _read_lines(path: str) -> list[str]:
  try:
    return storage.read_file(path).decode("utf-8").splitlines()
  except storage.NO_FILE:
    raise errors.UsageError(f"{path}: no such file") from None
  except UnicodeDecodeError as error:
    raise errors.UsageError(f"{path}: not UTF-8 text ({error.reason})") from None
