"""Whether one record holds what its place in the data set asks for."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from data_tools import pixels, sharding
from vggtf import errors, manifest, schema


@dataclasses.dataclass(frozen=True)
class Expected:
  """What a shard should be: its manifest entry and its place in the data set.

  `upscale` tells whether images smaller than `scale` were enlarged to it.
  """

  shard: manifest.Shard
  scale: int
  split: str
  index: int
  shards: int
  classes: tuple[tuple[str, str], ...]
  upscale: bool


def decode_image(record: schema.Record) -> np.ndarray:
  """Returns the record's pixels, uint8 [h, w, 3].

  Raises:
    IntegrityError: they do not decode.
  """
  try:
    return pixels.decode_stored(record.encoded)
  except ValueError as error:
    raise errors.IntegrityError(
      f"image {record.id!r} does not decode ({error}); convert again"
    ) from None


def compare_record(record: schema.Record, expected: Expected) -> Iterator[str]:
  """Yields what is wrong with a record, but for its image's bytes."""
  name = f"image {record.id!r}"
  for problem in (*_compare_classes(record, expected.classes), *_compare_boxes(record, expected)):
    yield f"{name} {problem}"
  if record.scale != expected.scale:
    yield f"{name} has the scale {record.scale}, its folder is of {expected.scale}"
  original = record.original_height, record.original_width
  if min(original) < 1:
    yield f"{name} has the original size {original[0]}x{original[1]}"
  else:
    height, width = schema.stored_size(*original, expected.scale, expected.upscale)
    if (record.height, record.width) != (height, width):
      yield f"{name} is {record.height}x{record.width}, expected {height}x{width}"
  if sharding.choose_shard(record.id, expected.shards) != expected.index:
    yield f"{name} belongs in another shard"


def compare_pixels(record: schema.Record, rgb: np.ndarray) -> Iterator[str]:
  """Yields a problem if the decoded image has another size than the record says."""
  height, width = rgb.shape[:2]
  if (height, width) != (record.height, record.width):
    yield (
      f"image {record.id!r} decodes to {height}x{width}, the record says "
      f"{record.height}x{record.width}"
    )


def _compare_classes(record: schema.Record, classes: tuple[tuple[str, str], ...]) -> Iterator[str]:
  known = range(len(classes))
  for label in {record.label, *record.labels, *record.uncertain}:
    if label not in known:
      yield f"has the label {label}, expected 0..{len(classes) - 1}"
  if record.label in known and (record.synset, record.text) != tuple(classes[record.label]):
    yield (
      f"has the class {record.synset!r} ({record.text!r}) for its label {record.label}, the "
      f"manifest says {classes[record.label]}"
    )
  for key, labels in (("labels", record.labels), ("uncertain", record.uncertain)):
    if list(labels) != sorted(set(labels)):
      yield f"has image/class/{key} {labels}, expected ascending ones, each once"
  if set(record.labels) & set(record.uncertain):
    yield f"has labels {record.labels} of which some are uncertain too: {record.uncertain}"
  first = (*record.labels, *record.uncertain)[:1]
  if first and record.label != first[0]:
    yield f"has the label {record.label}, but {first[0]} is the first of all its classes"


def _compare_boxes(record: schema.Record, expected: Expected) -> Iterator[str]:
  for box in record.boxes:
    if not (0 <= box.xmin <= box.xmax <= 1 and 0 <= box.ymin <= box.ymax <= 1):
      yield f"has a box that is not inside it: {box}"
    if not 0 <= box.label < len(expected.classes):
      yield f"has a box of the class {box.label}, expected 0..{len(expected.classes) - 1}"
