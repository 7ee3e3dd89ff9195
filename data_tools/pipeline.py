"""The conversion as a Beam pipeline: List | Shard | Write | Publish.

Only lightweight items are grouped, never images: each shard is then read, rescaled and written by
one call, with one image in memory at a time. The functions stay in this module, not in `__main__`,
so that workers can import them.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from data_tools import conversion, publication, sharding
from data_tools.options import Options
from data_tools.source import Item, Source

_Key = tuple[str, int]  # split and number of a shard


class ListItems(beam.PTransform):
  """Roots of a source to its items; each root is listed by one worker."""

  def __init__(self, source: Source):
    """Keeps the source, which travels to the workers."""
    super().__init__()
    self._source = source

  def expand(self, pipeline):
    """Returns the items, in no order."""
    return (
      pipeline
      | "Roots" >> beam.Create(list(self._source.roots()))
      | "Spread" >> beam.Reshuffle()
      | "List" >> beam.FlatMap(self._source.list_items).with_output_types(Any)
    )


class GroupShards(beam.PTransform):
  """Items to (split, number) and the items of that shard; an empty shard has a group too."""

  def __init__(self, options: Options):
    """Keeps the number of shards of each split."""
    super().__init__()
    self._shards = dict(options.shards)

  def expand(self, items):
    """Returns one group for each shard; None in it stands for the shard itself."""
    every = [((split, at), None) for split, number in self._shards.items() for at in range(number)]
    keyed = items | "Key" >> beam.Map(_key_item, self._shards).with_output_types(tuple[_Key, Any])
    empty = (
      items.pipeline
      | "EveryShard" >> beam.Create(every)
      | "Untyped" >> beam.Map(_pass_on).with_output_types(tuple[_Key, Any])
    )
    return (keyed, empty) | "Merge" >> beam.Flatten() | "Group" >> beam.GroupByKey()


class WriteShard(beam.DoFn):
  """A group to its files and a `conversion.ShardResult`."""

  def __init__(
    self,
    source: Source,
    classes: Sequence[tuple[str, str]],
    options: Options,
    folder: str,
  ):
    """Keeps what `conversion.convert_shard` takes besides the items."""
    super().__init__()
    self._source = source
    self._classes = tuple(classes)
    self._options = options
    self._folder = folder

  def process(self, group: tuple[_Key, Iterable[Item | None]]) -> Iterator[Any]:
    """Yields the result of one shard."""
    (split, index), members = group
    items = (item for item in members if item is not None)
    yield conversion.convert_shard(
      split, index, items, self._source, self._classes, self._options, self._folder
    )


def build(
  pipeline: beam.Pipeline,
  source: Source,
  classes: Sequence[tuple[str, str]],
  options: Options,
  folder: str,
):
  """Adds the whole conversion to `pipeline`.

  Args:
    pipeline: of any runner.
    source: lists and reads the images.
    classes: (class key, readable name) in label order.
    options: of the conversion.
    folder: where the data set grows; all workers must be able to write there.
  """
  _ = (
    pipeline
    | "ListItems" >> ListItems(source)
    | "GroupShards" >> GroupShards(options)
    | "WriteShards"
    >> beam.ParDo(WriteShard(source, classes, options, folder)).with_output_types(Any)
    | "Together" >> beam.Map(_key_alike).with_output_types(tuple[int, Any])
    | "Gather" >> beam.GroupByKey()
    | "Publish" >> beam.Map(_publish, folder, classes, options, source.describe())
  )


def _key_item(item: Item, shards: dict[str, int]) -> tuple[_Key, Item]:
  return (item.split, sharding.choose_shard(item.id, shards[item.split])), item


def _pass_on(element):
  return element


def _key_alike(result) -> tuple[int, Any]:
  return 0, result


def _publish(gathered, folder, classes, options, source):
  _, results = gathered
  publication.publish(folder, results, classes, options, source)
