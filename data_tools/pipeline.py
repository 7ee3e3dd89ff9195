"""The conversion as a Beam pipeline: List | Check | Shard | Write | Manifest.

Only lightweight items are grouped, never images: Shard comes before Read, Repair, Rescale and
Encode, which Write does for one image at a time (conversion.py). So no runner has to shuffle
hundreds of gigabytes, and a worker's memory does not grow with the data. The functions stay in this
module, not in `__main__`, so that workers can import them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from data_tools import inputs, parts, progress, publication, sharding
from data_tools.conversion import convert_shard
from data_tools.decoder import Decoder
from data_tools.job import Job
from data_tools.members import Members
from data_tools.options import Options
from data_tools.renditions import Wanted
from data_tools.source import Annotation, Item, Source
from vggtf import errors, malloc

_Key = tuple[str, int]  # split and number of a shard


class ListItems(beam.PTransform):
  """Roots of a source to its items and annotations; each root is listed by one worker."""

  def __init__(self, source: Source):
    """Keeps the source, which travels to the workers."""
    super().__init__()
    self._source = source

  def expand(self, pipeline):
    """Returns the items and annotations, in no order."""
    return (
      pipeline
      | "Roots" >> beam.Create(list(self._source.roots()))
      | "Spread" >> beam.Reshuffle()
      | "List" >> beam.FlatMap(self._source.list_items).with_output_types(Any)
    )


class CheckCounts(beam.PTransform):
  """Listed items to their number, after it was found to be right; nothing is read before that."""

  def __init__(self, job: Job):
    """Keeps what the counts are compared with."""
    super().__init__()
    self._job = job

  def expand(self, listed):
    """Returns one number."""
    return (
      listed
      | "Count" >> beam.CombineGlobally(_CountItems())
      | "Compare" >> beam.Map(_check_counts, self._job).with_output_types(int)
    )


class GroupShards(beam.PTransform):
  """Items and annotations to (split, number) and all of that shard, which may be nothing."""

  def __init__(self, options: Options):
    """Keeps the number of shards of each split."""
    super().__init__()
    self._shards = dict(options.shards)

  def expand(self, listed):
    """Returns one group for each shard; None in it stands for the shard itself."""
    every = [((split, at), None) for split, number in self._shards.items() for at in range(number)]
    keyed = listed | "Key" >> beam.Map(_key, self._shards).with_output_types(tuple[_Key, Any])
    empty = (
      listed.pipeline
      | "EveryShard" >> beam.Create(every)
      | "Untyped" >> beam.Map(_pass_on).with_output_types(tuple[_Key, Any])
    )
    return (keyed, empty) | "Merge" >> beam.Flatten() | "Group" >> beam.GroupByKey()


class WriteShard(beam.DoFn):
  """A group to its files and a `parts.ShardResult`; a part made from the same input is taken."""

  def __init__(self, job: Job):
    """Keeps what all shards have in common."""
    super().__init__()
    self._job = job
    self._stored = Metrics.counter("vggtf", "images_stored")
    self._refused = Metrics.counter("vggtf", "images_rejected")

  def setup(self):
    """Makes the process that decodes for this worker."""
    malloc.keep_freed_memory()
    options = self._job.options
    self._decoder = Decoder(
      Wanted(
        scales=options.scales,
        quality=options.quality,
        max_pixels=options.max_pixels,
        upscale=options.upscale,
        damaged_jpeg=options.damaged_jpeg,
      )
    )

  def teardown(self):
    """Ends that process."""
    self._decoder.close()

  def process(
    self, group: tuple[_Key, Iterable[Item | Annotation | None]], _checked: int
  ) -> Iterator[Any]:
    """Yields the result of one shard; `_checked` makes it wait for `CheckCounts`."""
    (split, index), listed = group
    result = self._make(split, index, Members(listed))
    self._stored.inc(sum(file.records for file in result.files[:1]))
    self._refused.inc(sum(note.kind == "image" for note in result.notes))
    yield result

  def _make(self, split: str, index: int, members: Members) -> parts.ShardResult:
    job = self._job
    shards = dict(job.options.shards)[split]
    tally = progress.Tally(job.folder, f"{split}-{index}")
    try:
      found = parts.load(job.folder, split, index, shards)
      if found and found.inputs == inputs.sum_up(members, job.source):
        tally.reuse(found.inputs.images)
        return found
      result = convert_shard(split, index, members, job, self._decoder, tally)
      parts.save(job.folder, shards, result)
      return result
    finally:
      tally.close()


def build(pipeline: beam.Pipeline, job: Job):
  """Adds the whole conversion to `pipeline`, of any runner."""
  listed = pipeline | "List" >> ListItems(job.source)
  checked = listed | "Check" >> CheckCounts(job)
  _ = (
    listed
    | "Shard" >> GroupShards(job.options)
    | "Write"
    >> beam.ParDo(WriteShard(job), beam.pvalue.AsSingleton(checked)).with_output_types(Any)
    | "Together" >> beam.Map(_key_alike).with_output_types(tuple[int, Any])
    | "Gather" >> beam.GroupByKey()
    | "Manifest" >> beam.Map(_publish, job)
  )


class _CountItems(beam.CombineFn):
  """Items to how many there are of each (split, label), and of each split whatever became of it."""

  def create_accumulator(self):
    return Counter()

  def add_input(self, counts, listed):
    if isinstance(listed, Item) and not listed.left_out:
      counts[listed.split, None] += 1
      if not listed.refused:
        counts[listed.split, listed.label] += 1
    return counts

  def merge_accumulators(self, accumulators):
    return sum(accumulators, start=Counter())

  def extract_output(self, counts):
    return counts


def _check_counts(counts: Counter, job: Job) -> int:
  listed = {split: counts[split, None] for split, _ in job.options.shards}
  if not sum(listed.values()):
    raise errors.UsageError("the input holds no images; expected files in its class folders")
  job.source.check_counts({key: number for key, number in counts.items() if key[1] is not None})
  for split, shards in job.options.shards:
    if not listed[split]:
      raise errors.UsageError(
        f"--shards names {split}, but none of the {sum(listed.values())} images is in it; add "
        "images, or hold out another part of them (--validation_fraction)"
      )
    if shards > listed[split]:
      raise errors.UsageError(
        f"--shards: {split}={shards} files for {listed[split]} images; expected at most one file "
        "an image, and better one for a thousand"
      )
  total = sum(listed.values())
  progress.announce_total(job.folder, total)
  return total


def _key(listed: Item | Annotation, shards: dict[str, int]) -> tuple[_Key, Item | Annotation]:
  return (listed.split, sharding.choose_shard(listed.id, shards[listed.split])), listed


def _pass_on(element):
  return element


def _key_alike(result) -> tuple[int, Any]:
  return 0, result


def _publish(gathered, job: Job):
  _, results = gathered
  publication.publish(results, job)
