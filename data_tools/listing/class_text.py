"""Readable names of classes, from a file."""

from collections.abc import Sequence

from data_tools import storage
from vggtf import errors


def read_texts(path: str, keys: Sequence[str]) -> dict[str, str]:
  """Returns the text of every key of a file; it may have more keys than are asked for.

  Args:
    path: UTF-8 text, here or in a bucket; a line is a key, a tab and the text. A line without a tab
      is split at its first space, as ImageNet's own lists are.
    keys: those that must be there.

  Raises:
    UsageError: the file or a key is missing, a key is there twice, or a line has no text.
  """
  texts: dict[str, str] = {}
  try:
    lines = storage.read_file(path).decode("utf-8-sig").splitlines()
  except UnicodeDecodeError as error:
    raise errors.UsageError(f"--class_text={path}: not UTF-8 text ({error.reason})") from None
  except storage.NO_FILE:
    raise errors.UsageError(f"--class_text={path}: no such file") from None
  for number, line in enumerate(lines, 1):
    key, _, text = line.partition("\t" if "\t" in line else " ")
    if not line.strip():
      continue
    if not text.strip() or key in texts:
      what = f"second text for {key}" if key in texts else f"no text in {line!r}"
      raise errors.UsageError(f"--class_text={path}, line {number}: {what}; expected key<TAB>text")
    texts[key] = text.strip()
  missing = [key for key in keys if key not in texts]
  if missing:
    raise errors.UsageError(
      f"--class_text={path} lacks {len(missing)} of {len(keys)} classes: {', '.join(missing[:5])}"
    )
  return texts
