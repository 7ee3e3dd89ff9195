"""What finished shards have come to, kept beside them so that a broken-off conversion can go on."""

import dataclasses
import hashlib
import json

from data_tools import statistics, storage
from data_tools.inputs import InputSum
from vggtf import errors, manifest

_FOLDER = "parts"
_IDENTITY = "conversion.json"


@dataclasses.dataclass(frozen=True)
class Note:
  """What became of one input.

  Attributes:
    id: of the image that it is, or belongs to.
    split: of that image.
    source: where it came from, for people.
    kind: "image", "boxes" or "left_out" if it was refused; "repair" if it was mended.
    what: the reason, or the repair.
    detail: for people.
  """

  id: str
  split: str
  source: str
  kind: str
  what: str
  detail: str


@dataclasses.dataclass(frozen=True)
class ShardResult:
  """What one shard came to.

  Attributes:
    split: the split.
    index: the shard's number in the split.
    files: the manifest entry of each scale, in the order of the scales.
    class_counts: (label, images), ascending; an image of several classes counts in each.
    moments: of the images at the smallest scale; empty but for the training split.
    notes: what was refused, left out or mended, in the order of the shard.
    inputs: what it was made from.
    contents: 8 bytes of the sha256 of each stored image's source bytes, in hex, one after another.
    boxed: stored images with boxes.
    boxes: their number.
  """

  split: str
  index: int
  files: tuple[manifest.Shard, ...]
  class_counts: tuple[tuple[int, int], ...]
  moments: statistics.Moments
  notes: tuple[Note, ...]
  inputs: InputSum
  contents: str
  boxed: int
  boxes: int


def claim(folder: str, identity: dict):
  """Marks `folder` as that of one conversion: its options, source, classes and libraries.

  Raises:
    UsageError: it holds parts of another one.
  """
  path = storage.join(folder, _IDENTITY)
  try:
    before = json.loads(storage.read_file(path))
  except FileNotFoundError:
    remove(folder)  # parts of who knows what: their removal was broken off
    storage.write_file(path, json.dumps(identity, sort_keys=True).encode())
    return
  different = find_difference(before, identity)
  if different:
    raise errors.UsageError(
      f"--resume: {folder} was begun with {different}; go on with the same, or start over with "
      "--overwrite"
    )


def find_difference(before: dict, now: dict) -> str | None:
  """Returns "name = old, now new" of the first difference of two nested descriptions, or None."""
  before, now = _flatten(before), _flatten(now)
  for name in sorted(before.keys() | now):
    if before.get(name) != now.get(name):
      return f"{name} = {before.get(name)}, now it is {now.get(name)}"
  return None


def save(folder: str, shards: int, result: ShardResult):
  """Keeps a shard's result, once its files have their names.

  Args:
    folder: the data set's folder.
    shards: number of shards of its split.
    result: what it came to.
  """
  path = _make_path(folder, result.split, result.index, shards)
  storage.write_file(path, json.dumps(dataclasses.asdict(result)).encode())


def load(folder: str, split: str, index: int, shards: int) -> ShardResult | None:
  """Returns the result of a finished shard whose files are still whole."""
  try:
    found = json.loads(storage.read_file(_make_path(folder, split, index, shards)))
  except FileNotFoundError:
    return None
  found["files"] = tuple(manifest.Shard(**file) for file in found["files"])
  found["class_counts"] = tuple((label, number) for label, number in found["class_counts"])
  moments = {name: _tuple(value) for name, value in found["moments"].items()}
  found["moments"] = statistics.Moments(**moments)
  found["notes"] = tuple(Note(**note) for note in found["notes"])
  found["inputs"] = InputSum(**found["inputs"])
  result = ShardResult(**found)
  return result if all(_is_whole(folder, file) for file in result.files) else None


def exist(folder: str) -> bool:
  """Returns whether `folder` holds the part of any shard."""
  return storage.is_folder(storage.join(folder, _FOLDER))


def remove(folder: str):
  """Removes all parts and the mark of the conversion."""
  parts = storage.join(folder, _FOLDER)
  files = [storage.join(parts, path) for path, _ in storage.list_files(parts)]
  storage.remove_files([*files, storage.join(folder, _IDENTITY)])
  storage.remove_empty_folder(parts)


def _flatten(value, name: str = "") -> dict[str, str]:
  if not isinstance(value, dict):
    return {name: json.dumps(value)}
  parts = [_flatten(value[key], f"{name}.{key}" if name else key) for key in value]
  return {key: text for part in parts for key, text in part.items()}


def _make_path(folder: str, split: str, index: int, shards: int) -> str:
  return storage.join(folder, f"{_FOLDER}/{split}-{index:05d}-of-{shards:05d}.json")


def _tuple(value):
  return tuple(value) if isinstance(value, list) else value


def _is_whole(folder: str, file: manifest.Shard) -> bool:
  try:
    with storage.open_file(storage.join(folder, file.path)) as opened:
      return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
  except FileNotFoundError:
    return False
