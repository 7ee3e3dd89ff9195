"""Draws images of a converted data set side by side, with classes, sizes and boxes, as a PNG.

  python -m data_tools.show OUT --split=train --n=16 --to=sheet.png [--scale=S] [--class=NAME]

Which images is decided by --seed alone: equal commands make equal sheets.
"""

import difflib
import io
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from data_tools import flags, sharding, storage
from vggtf import errors, manifest, records, schema

_MOST = 400  # images on a sheet


def cli() -> int:
  """Runs the command line in sys.argv; returns the exit code (vggtf/errors.py)."""
  return errors.run_command(main)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line.

  Args:
    arguments: without the program's name; those of the process by default.

  Returns:
    The exit code, 0.

  Raises:
    IntegrityError: the data set is damaged where it was read.
    UsageError: a flag is wrong, or there is no such image.
  """
  parser = flags.Parser("data_tools.show", __doc__)
  add = parser.add_argument
  add("input", metavar="OUT", help="what data_tools.convert wrote")
  add("--to", required=True, metavar="FILE.png", help="the sheet")
  add("--split", default="train", help="which images (default %(default)s)")
  add("--n", type=int, default=16, help=f"how many, up to {_MOST} (default %(default)s)")
  add("--scale", type=int, help="the stored scale (default: the smallest, originals last)")
  add("--class", dest="name", metavar="NAME", help="only of this class: its key or readable name")
  add("--seed", type=int, default=0, help="decides which images (default %(default)s)")
  parsed = parser.parse_all(arguments)
  if not 0 < parsed.n <= _MOST:
    raise errors.UsageError(f"--n: got {parsed.n}, expected 1..{_MOST} images")
  if not 0 <= parsed.seed < 1 << 32:
    raise errors.UsageError(f"--seed: got {parsed.seed}, expected 0..{(1 << 32) - 1}")
  if not parsed.to.lower().endswith(".png"):
    raise errors.UsageError(f"--to: got {parsed.to!r}, expected a name that ends in .png")
  if storage.is_folder(storage.absolute(parsed.to)):
    raise errors.UsageError(f"--to: {parsed.to} is a folder, expected the name of a file")
  _draw(parsed)
  return 0


def _draw(parsed):
  from data_tools import contact_sheet, inspection

  folder = storage.absolute(parsed.input)
  if not storage.is_folder(folder):
    raise errors.UsageError(f"{parsed.input}: no such folder; give what data_tools.convert wrote")
  content = inspection.read_manifest(folder)
  if parsed.split not in content.splits:
    known = ", ".join(sorted(content.splits))
    raise errors.UsageError(f"--split: got {parsed.split!r}, expected one of {known}")
  scale = parsed.scale
  if scale is None:
    scale = min(content.scales, key=lambda stored: (not stored, stored))
  if scale not in content.scales:
    raise errors.UsageError(f"--scale: got {scale}, expected one of {content.scales}")
  label = None if parsed.name is None else _find_class(parsed.name, content)
  counts = content.class_counts[parsed.split]
  there = content.splits[parsed.split] if label is None else counts[label]
  of = parsed.split if label is None else f"class {parsed.name} in {parsed.split}"
  if not there:
    raise errors.UsageError(f"{parsed.input} has no images of {of}; choose another")
  shards = content.shards[f"{sharding.scale_folder(scale)}/{parsed.split}"]
  chosen = []
  for record in _shuffle(folder, shards, parsed.seed):
    if label is None or label in record.classes:
      chosen.append(record)
    if len(chosen) == min(parsed.n, there):
      break
  buffer = io.BytesIO()
  contact_sheet.make(chosen, content.labels).save(buffer, "PNG")
  storage.write_file(storage.absolute(parsed.to), buffer.getvalue())
  print(f"{parsed.to}: {len(chosen)} of the {there:,} images of {of}, scale {scale}")


def _shuffle(folder: str, shards: Sequence[manifest.Shard], seed: int) -> Iterator[schema.Record]:
  """Yields all records, shard by shard: a hash decides what is in one, so any is a fair sample."""
  from data_tools.mapped_file import open_mapped

  random = np.random.RandomState(seed)
  for at in random.permutation(len(shards)).tolist():
    path = shards[at].path
    try:
      with open_mapped(storage.join(folder, path)) as buffer:
        for offset, length in random.permutation(records.scan(buffer, path)).tolist():
          yield schema.decode(records.read(buffer, offset, length, path), path)
    except FileNotFoundError:
      raise errors.IntegrityError(
        f"{path} is missing in {folder}; copy it again from where it came, or convert again"
      ) from None


def _find_class(name: str, content: manifest.Manifest) -> int:
  """Returns the label of a class key, or of a readable name."""
  for names in ([key for key, _ in content.labels], [text for _, text in content.labels]):
    if names.count(name) == 1:
      return names.index(name)
    if name in names:
      keys = ", ".join(key for key, text in content.labels if text == name)
      raise errors.UsageError(f"--class: {name!r} is the name of several; give a key: {keys}")
  known = [each for pair in content.labels for each in pair]
  close = difflib.get_close_matches(name, known, n=1)
  hint = f"did you mean {close[0]!r}?" if close else "labels.txt lists the names"
  raise errors.UsageError(f"--class: there is no class {name!r}; {hint}")


if __name__ == "__main__":
  sys.exit(cli())
