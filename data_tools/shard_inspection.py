"""Whether one shard holds what the manifest and its own records say."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator

from data_tools import record_inspection, sharding, statistics, storage
from data_tools.mapped_file import open_mapped
from data_tools.record_inspection import Expected
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


@dataclasses.dataclass
class Findings:
  """What was seen of a shard, or of several of one split and scale.

  Attributes:
    records: number of records.
    bytes: of the file.
    decoded: images that were decoded.
    boxed: images with boxes.
    boxes: their number.
    ids: a digest of the ids in order, "" if some were unreadable.
    labels: images of each label; every class of an image counts.
    repairs: images with each repair.
    moments: of the decoded images.
    problems: what is wrong.
  """

  records: int = 0
  bytes: int = 0
  decoded: int = 0
  boxed: int = 0
  boxes: int = 0
  ids: str = ""
  labels: Counter[int] = dataclasses.field(default_factory=Counter)
  repairs: Counter[str] = dataclasses.field(default_factory=Counter)
  moments: statistics.Moments = dataclasses.field(default_factory=statistics.Moments)
  problems: list[Problem] = dataclasses.field(default_factory=list)

  def add(self, other: "Findings"):
    """Takes in those of another shard; `ids` stay as they are."""
    for field in dataclasses.fields(self):
      if field.name != "ids":
        both = getattr(self, field.name) + getattr(other, field.name)
        setattr(self, field.name, both)


def inspect_shard(folder: str, expected: Expected, decode: int | None) -> Findings:
  """Reads one shard whole: lengths first, then every checksum and every record.

  Args:
    folder: the data set's folder; remote files are read into memory, one at a time.
    expected: what the shard should be.
    decode: images to decode, evenly spread over the shard; None for all of them.

  Returns:
    What was seen, every problem among it.
  """
  found, shard = Findings(), expected.shard
  path = storage.join(folder, shard.path)
  if not storage.is_file(path):
    found.problems.append(Problem(shard.path, None, f"missing; {_COPY_AGAIN}"))
    return found
  with open_mapped(path) as buffer:
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
      rgb = record_inspection.decode_image(record) if at in chosen else None
    except errors.IntegrityError as error:
      found.problems.append(Problem(path, at, _say(error, expected.shard)))
      ids = None
      continue
    problems = list(record_inspection.compare_record(record, expected))
    place = sharding.order(record.id)
    if previous is not None and place <= previous:
      problems.append(f"image {record.id!r} is out of order or double")
    previous = place
    if rgb is not None:
      found.decoded += 1
      found.moments += statistics.measure(rgb)
      problems += record_inspection.compare_pixels(record, rgb)
    found.problems += (Problem(path, at, f"{what}; convert again") for what in problems)
    found.labels.update(record.classes)
    found.repairs.update(set(record.repairs))
    found.boxed += bool(record.boxes)
    found.boxes += len(record.boxes)
    if ids:
      ids.update(record.id.encode() + b"\0")
  found.ids = ids.hexdigest() if ids else ""


def _compare_file(shard: manifest.Shard, buffer) -> Iterator[str]:
  if len(buffer) != shard.bytes:
    yield f"has {len(buffer)} bytes, the manifest says {shard.bytes}"
  elif hashlib.sha256(buffer).hexdigest() != shard.sha256:
    yield "its sha256 is not the manifest's"


def _choose(number: int, decode: int | None) -> set[int]:
  if decode is None or decode >= number:
    return set(range(number))
  return {at * number // decode for at in range(decode)}


def _say(error: errors.IntegrityError, shard: manifest.Shard) -> str:
  text = str(error).removeprefix(f"{shard.path}: ")
  return text if ";" in text else f"{text}; {_COPY_AGAIN}"
