"""--job=input_benchmark: how fast the configured input is on this machine and data, and why."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.data import costs, pipeline, shards, threads
from vggtf.reports import listing


def run(
  data_dir: str,
  model: Callable[..., contracts.Model],
  feed: Callable[..., contracts.Feed],
  images: int = 2000,
) -> None:
  """Runs the training input without a net and prints what each part of it costs.

  Args:
    data_dir: a converted data set.
    model: tells the size of the crops.
    feed: the training batches.
    images: how many are taken to measure a part, each of three times.

  Raises:
    UsageError: the feed is not ours, or cannot be made.
    IntegrityError: a record is damaged.
  """
  facts = shards.read_manifest(data_dir)
  mean_rgb = facts.statistics.mean_rgb if facts.statistics else (0.0, 0.0, 0.0)
  with tf.Graph().as_default():  # no weight is drawn
    side = model(classes=len(facts.labels), mean_rgb=mean_rgb).input_size
  feed = feed(data_dir=data_dir, side=side, seed=0)
  if not isinstance(feed, pipeline.TrainingFeed):
    raise errors.UsageError(
      f"--job=input_benchmark measures pipeline.TrainingFeed; the feed is {type(feed).__name__}"
    )
  with pipeline.named_failures(feed):
    found = costs.measure(feed, images)
  print(_text(found, feed.batch_size, side))


def _text(found: dict[str, costs.Cost], batch_size: int, side: int) -> str:
  """Returns the costs by part, and what follows from those of the last one, which is the whole."""
  rows, before, whole = [], 0.0, list(found.values())[-1]
  for name, cost in found.items():
    rows.append((name, f"{1e3 * max(cost.cpu - before, 0):7.3f}"))
    before = cost.cpu
  rows.append(("the whole", f"{1e3 * whole.cpu:7.3f}"))
  per_step, cores = whole.seconds * batch_size, threads.cores()
  feeds = [
    ("images a second", f"{1 / whole.seconds:,.0f}"),
    ("share of the cores", f"{whole.cpu / whole.seconds / cores:.0%} of {cores}"),
    ("steps a second", f"{1 / per_step:,.2f} of {batch_size} images"),
    ("from the disk", f"{whole.read / 1024:,.1f} KiB an image; the rest was in memory"),
  ]
  heading = f"cost of an image, crops of {side}: ms of one core"
  groups = {heading: rows, "what this feeds, with nothing beside it": feeds}
  advice = f"A step that takes less than {1e3 * per_step:,.0f} ms waits for images."
  return f"{listing.text(groups)}\n\n{advice}"
