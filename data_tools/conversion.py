"""Items of one shard to one finished file per scale. No Beam here, and no state between shards.

Memory holds one image at a time, whatever the size of the shard.
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from data_tools import pixels, sharding, statistics
from data_tools.options import Options
from data_tools.shard_file import ShardFile
from data_tools.source import Item, Source
from vggtf import errors, manifest, schema

STATISTICS_SPLIT = "train"
_ABOUT_ONE_FILE = (FileNotFoundError, PermissionError, IsADirectoryError)


@dataclasses.dataclass(frozen=True)
class Note:
  """What became of one input: `what` is the reason it was rejected for, or the repair."""

  id: str
  source: str
  what: str
  detail: str


@dataclasses.dataclass(frozen=True)
class ShardResult:
  """What one shard came to.

  Attributes:
    split: the split.
    index: the shard's number in the split.
    files: the manifest entry of each scale, in the order of the scales.
    class_counts: (label, images), ascending.
    moments: of the images at the smallest scale, as stored; empty but for the training split.
    rejected: inputs that are in no shard.
    repaired: inputs that are in one, but not as they came.
  """

  split: str
  index: int
  files: tuple[manifest.Shard, ...]
  class_counts: tuple[tuple[int, int], ...]
  moments: statistics.Moments
  rejected: tuple[Note, ...]
  repaired: tuple[Note, ...]


def convert_shard(
  split: str,
  index: int,
  items: Iterable[Item],
  source: Source,
  classes: Sequence[tuple[str, str]],
  options: Options,
  folder: str,
) -> ShardResult:
  """Writes one shard at every scale.

  Args:
    split: its split.
    index: its number in the split.
    items: what belongs in it, in any order.
    source: reads them.
    classes: (class key, readable name) in label order.
    options: scales, quality, limits.
    folder: where the data set grows.

  Returns:
    What was written, rejected and repaired.

  Raises:
    RejectedInputError: two items have one id.
    EnvironmentFault: reading or writing failed for a reason that is not one image's.
  """
  shards = dict(options.shards)[split]
  counts: Counter[int] = Counter()
  moments = statistics.Moments()
  rejected, repaired = [], []
  with contextlib.ExitStack() as stack:
    files = []
    for scale in options.scales:
      file = ShardFile(folder, sharding.shard_path(scale, split, index, shards))
      stack.callback(file.discard)
      files.append(file)
    for item in _arrange(items):
      try:
        picture = _load(item, source, options)
      except pixels.Refused as refused:
        rejected.append(Note(item.id, item.origin, refused.reason, refused.detail))
        continue
      repaired += (Note(item.id, item.origin, *repair) for repair in picture.repairs)
      stored = [_store(picture, item, classes, scale, options.quality) for scale in options.scales]
      for file, record in zip(files, stored, strict=True):
        file.write(schema.encode(record))
      counts[item.label] += 1
      if split == STATISTICS_SPLIT:
        moments += statistics.measure(pixels.decode_stored(stored[0].encoded))
    return ShardResult(
      split=split,
      index=index,
      files=tuple(file.commit() for file in files),
      class_counts=tuple(sorted(counts.items())),
      moments=moments,
      rejected=tuple(rejected),
      repaired=tuple(repaired),
    )


def _arrange(items: Iterable[Item]) -> Iterator[Item]:
  previous = None
  for item in sorted(items, key=lambda item: sharding.order(item.id)):
    if previous is not None and item.id == previous.id:
      first, second = sorted((previous.origin, item.origin))
      raise errors.RejectedInputError(
        f"the id {item.id!r} is used twice, by {first} and {second}; expected unique ids: rename "
        "or remove one of them"
      )
    previous = item
    yield item


def _load(item: Item, source: Source, options: Options) -> pixels.Picture:
  if item.refused:
    raise pixels.Refused(*item.refused)
  try:
    data = source.read(item)
  except _ABOUT_ONE_FILE as error:
    raise pixels.Refused("unreadable", str(error.strerror)) from None
  except OSError as error:
    raise errors.EnvironmentFault(
      f"cannot read {item.origin}: {error.strerror}; check the disk or the network and run again"
    ) from error
  picture = pixels.decode(data, options.max_pixels, options.scales[-1])
  damage = [detail for kind, detail in picture.repairs if kind == "damaged_scan"]
  if damage and options.damaged_jpeg == "reject":
    raise pixels.Refused("damaged", damage[0])
  return picture


def _store(picture, item: Item, classes, scale: int, quality: int) -> schema.Record:
  rgb = pixels.rescale(picture.rgb, scale)
  key, text = classes[item.label]
  return schema.Record(
    id=item.id,
    encoded=pixels.encode(rgb, quality),
    height=rgb.shape[0],
    width=rgb.shape[1],
    label=item.label,
    synset=key,
    text=text,
    filename=item.id.rpartition("/")[2],
    scale=scale,
    original_height=picture.rgb.shape[0],
    original_width=picture.rgb.shape[1],
  )
