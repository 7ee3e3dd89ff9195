"""Whether one shard holds what the manifest and its own records say."""

import contextlib
import dataclasses
import hashlib
import mmap
import os
from collections import Counter
from collections.abc import Iterator

import numpy as np

from data_tools import pixels, sharding, statistics
from vggtf import errors, manifest, records, schema

_COPY_AGAIN = "copy the file again from where it came, or convert again"


@dataclasses.dataclass(frozen=True)
class Problem:
  """Something wrong: the file below the data set's folder, and the record if it is one's."""

  file: str
  record: int | None
  what: str

  def __str__(self) -> str:
    """Returns the problem as one line."""
    record = "" if self.record is None else f", record {self.record}"
    return f"{self.file}{record}: {self.what}"


@dataclasses.dataclass(frozen=True)
class Expected:
  """What a shard should be: its manifest entry and its place in the data set."""

  shard: manifest.Shard
  scale: int
  split: str
  index: int
  shards: int
  classes: tuple[tuple[str, str], ...]


@dataclasses.dataclass
class Findings:
  """What was seen of a shard; `ids` is a digest of its ids in order, "" if some were unreadable."""

  records: int = 0
  bytes: int = 0
  decoded: int = 0
  ids: str = ""
  labels: Counter = dataclasses.field(default_factory=Counter)
  moments: statistics.Moments = dataclasses.field(default_factory=statistics.Moments)
  problems: list[Problem] = dataclasses.field(default_factory=list)


def inspect_shard(folder: str, expected: Expected, decode: int | None) -> Findings:
  """Reads one shard whole: lengths first, then every checksum and every record.

  Args:
    folder: the data set's folder.
    expected: what the shard should be.
    decode: images to decode, evenly spread over the shard; None for all of them.

  Returns:
    What was seen, every problem among it.
  """
  found, shard = Findings(), expected.shard
  path = os.path.join(folder, *shard.path.split("/"))
  if not os.path.isfile(path):
    found.problems.append(Problem(shard.path, None, f"missing; {_COPY_AGAIN}"))
    return found
  with _open(path) as buffer:
    found.bytes = len(buffer)
    for what in _compare_file(shard, buffer):
      found.problems.append(Problem(shard.path, None, f"{what}; {_COPY_AGAIN}"))
    try:
      spans = records.scan(buffer, shard.path)
    except errors.IntegrityError as error:
      found.problems.append(Problem(shard.path, None, _say(error, shard)))
      return found
    if len(spans) != shard.records:
      what = f"holds {len(spans)} records, the manifest says {shard.records}; {_COPY_AGAIN}"
      found.problems.append(Problem(shard.path, None, what))
    found.records = len(spans)
    _inspect_records(found, expected, buffer, spans, decode)
  return found


def _inspect_records(found: Findings, expected: Expected, buffer, spans, decode: int | None):
  ids, previous, path = hashlib.sha256(), None, expected.shard.path
  chosen = _choose(len(spans), decode)
  for at, (offset, length) in enumerate(spans.tolist()):
    try:
      record = schema.decode(records.read(buffer, offset, length, path), path)
      rgb = _decode(record) if at in chosen else None
    except errors.IntegrityError as error:
      found.problems.append(Problem(path, at, _say(error, expected.shard)))
      ids = None
      continue
    problems = list(_compare_record(record, expected))
    place = sharding.order(record.id)
    if previous is not None and place <= previous:
      problems.append(f"image {record.id!r} is out of order or double")
    previous = place
    if rgb is not None:
      found.decoded += 1
      found.moments += statistics.measure(rgb)
      if rgb.shape[:2] != (record.height, record.width):
        problems.append(
          f"image {record.id!r} decodes to {rgb.shape[0]}x{rgb.shape[1]}, the record says "
          f"{record.height}x{record.width}"
        )
    found.problems += (Problem(path, at, f"{what}; convert again") for what in problems)
    found.labels[record.label] += 1
    if ids:
      ids.update(record.id.encode() + b"\0")
  found.ids = ids.hexdigest() if ids else ""


def _compare_file(shard: manifest.Shard, buffer) -> Iterator[str]:
  if len(buffer) != shard.bytes:
    yield f"has {len(buffer)} bytes, the manifest says {shard.bytes}"
  elif hashlib.sha256(buffer).hexdigest() != shard.sha256:
    yield "its sha256 is not the manifest's"


def _compare_record(record: schema.Record, expected: Expected) -> Iterator[str]:
  name = f"image {record.id!r}"
  classes, scale = expected.classes, expected.scale
  if not 0 <= record.label < len(classes):
    yield f"{name} has the label {record.label}, expected 0..{len(classes) - 1}"
  elif (record.synset, record.text) != tuple(classes[record.label]):
    yield (
      f"{name}, label {record.label}, has the class {record.synset!r} ({record.text!r}), the "
      f"manifest says {classes[record.label]}"
    )
  if record.scale != scale:
    yield f"{name} has the scale {record.scale}, its folder is of {scale}"
  original = record.original_height, record.original_width
  shortest = min(original)
  if shortest < 1:
    yield f"{name} has the original size {original[0]}x{original[1]}"
  else:
    height, width = (schema.scaled_side(side, shortest, scale) for side in original)
    if (record.height, record.width) != (height, width):
      yield f"{name} is {record.height}x{record.width}, expected {height}x{width}"
  if sharding.choose_shard(record.id, expected.shards) != expected.index:
    yield f"{name} belongs in another shard"


def _decode(record: schema.Record) -> np.ndarray:
  try:
    return pixels.decode_stored(record.encoded)
  except ValueError as error:
    raise errors.IntegrityError(
      f"image {record.id!r} does not decode ({error}); convert again"
    ) from None


def _choose(number: int, decode: int | None) -> set[int]:
  if decode is None or decode >= number:
    return set(range(number))
  return {at * number // decode for at in range(decode)}


def _say(error: errors.IntegrityError, shard: manifest.Shard) -> str:
  text = str(error).removeprefix(f"{shard.path}: ")
  return text if ";" in text else f"{text}; {_COPY_AGAIN}"


@contextlib.contextmanager
def _open(path: str) -> Iterator[bytes | mmap.mmap]:
  if not os.path.getsize(path):  # which cannot be mapped
    yield b""
    return
  with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
    yield buffer
