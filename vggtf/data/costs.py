"""What each part of the way from a shard to a batch costs, measured on the data at hand."""

from __future__ import annotations

import collections
import resource
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from vggtf.data import crops, pipeline, threads

_ROUNDS = 3
_WARMED = 3  # batches, until there are threads, and what was made ahead of time is used up


class Cost(NamedTuple):
  """What images took.

  cpu: seconds on the cores an image; seconds: on the clock an image; read: bytes an image that came
    from the disk, and not from the system's memory.
  """

  cpu: float
  seconds: float
  read: float


def measure(feed: pipeline.TrainingFeed, images: int) -> dict[str, Cost]:
  """Returns what an image has cost by the end of each part of its way, in order; medians of rounds.

  The parts: "read" (order, shards, checksums), "decode" (the window), "resample", "flip, colour",
  and "batch", which is the whole feed as training has it. The parts take turns, so that what else
  the machine does disturbs all of them alike.

  Args:
    feed: what is measured.
    images: how many, for each part and round; at least one batch is.
  """
  ways, rounds = _ways(feed), collections.defaultdict(list)
  for _ in range(_ROUNDS):
    for name, way in ways.items():
      rounds[name].append(_time(way, max(1, images // feed.batch_size), feed.batch_size))
  return {
    name: Cost(*map(statistics.median, zip(*taken, strict=True))) for name, taken in rounds.items()
  }


def _ways(feed: pipeline.TrainingFeed) -> dict[str, tf.data.Dataset]:
  """Returns data sets that go further and further; all but the last give a number an image."""

  def until(part: Callable[..., tf.Tensor]) -> tf.data.Dataset:
    def look(encoded, label, id_, view):
      return pipeline.one_by_one(lambda *row: part(*row)[0, 0, 0], encoded, view)

    return feed.rows().map(look, num_parallel_calls=threads.cores(), deterministic=True)

  return {
    "read": feed.rows().map(lambda encoded, label, *_: label),
    "decode": until(lambda encoded, view: crops.decode_window(encoded, view.crop)),
    "resample": until(lambda encoded, view: crops.decode(encoded, view.crop, feed.side)),
    "flip, colour": until(lambda encoded, view: feed.view.show(encoded, view, feed.side)),
    "batch": feed.batches(0),
  }


def _time(way: tf.data.Dataset, batches: int, batch_size: int) -> Cost:
  found = iter(way)
  for _ in range(_WARMED):
    next(found)
  before, start, read = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter(), _bytes_read()
  for _ in range(batches):
    next(found)
  after, images = resource.getrusage(resource.RUSAGE_SELF), batches * batch_size
  cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  seconds = time.perf_counter() - start
  return Cost(cpu / images, seconds / images, (_bytes_read() - read) / images)


def _bytes_read() -> int:
  """Returns how many bytes this process had the disks read."""
  with open("/proc/self/io") as file:
    return int(dict(line.split(": ") for line in file)["read_bytes"])
