"""Top-1 and top-5 error of a predictor on a split, every image counted exactly once."""

from __future__ import annotations

import datetime
import functools
import logging
import time
from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts, errors, metrics, schema
from vggtf.data import evaluation_feed, pipeline, shards
from vggtf.evaluators import tally

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 30


class Classification:
  """Measures one predictor on one split, and on the way all that it is the mean of.

  Args:
    model: the net.
    data_dir: a converted data set.
    predictor: what is measured; called with the net.
    split: on which images.
    batch_size: images a batch, at most; of images larger than the net's own, as many as have as
      many pixels.
    originals: whether pictures are read as they were before the conversion (scale 0 of the data)
      and not from the stored scale that suffices.
    compiled_shapes: images of how many shapes XLA may compile for; others run as a graph. Each
      takes seconds and memory, and whole images have hundreds of shapes.
  """

  def __init__(
    self,
    model: contracts.Model,
    data_dir: str,
    predictor: Callable[[contracts.Model], contracts.Predictor],
    split: str = "validation",
    batch_size: int = 64,
    originals: bool = False,
    compiled_shapes: int = 0,
  ):
    records = shards.Shards(data_dir, split)
    if not records.count:
      raise errors.UsageError(f"the split {split!r} of {data_dir} has no images to measure on")
    check_rule(records)
    self.predictor = predictor(model)
    self.remark = ", original files" if originals else ""
    self.protocol = self.predictor.describe() + self.remark
    self.split, self.manifest = split, records.manifest
    self.labels = records.manifest.labels
    self._count = records.count
    self._feed = evaluation_feed.EvaluationFeed(
      records, self.predictor, batch_size, model.input_size, originals
    )
    self._batches = functools.cache(self._feed.batches)
    self._members = getattr(self.predictor, "members", (self.predictor,))
    one_image = self._feed.batches(0, records.count)  # all shares have its form
    self._graph = tf.function(self._ask, input_signature=[one_image.element_spec.image])
    self._compiled = tf.function(self._ask, jit_compile=True)
    self._most_shapes, self._shapes = compiled_shapes, set()

  def __call__(self, worker: int = 0, workers: int = 1) -> dict[str, metrics.Mean]:
    """Returns "top1_error" and "top5_error" as (sum, weight): fractions of the split's images.

    Args:
      worker: of several processes that share the images; see `EvaluationFeed.batches`.
      workers: how many they are.

    Raises:
      DivergedError: a posterior is not finite; the images are named.
      IntegrityError: an image cannot be read, or not all were counted.
    """
    return self.measure(worker=worker, workers=workers)[-1].means

  def measure(
    self, posteriors: bool = False, worker: int = 0, workers: int = 1
  ) -> list[contracts.Measured]:
    """Returns what was found of each member of the predictor, of itself last.

    Args:
      posteriors: whether those of every image are kept, of the predictor itself and of all members
        that are means.
      worker: as for a call.
      workers: as for a call.

    Raises:
      DivergedError: as for a call.
      IntegrityError: as for a call.
    """
    whole = [posteriors and (one is self.predictor or _is_mean(one)) for one in self._members]
    tallies = [tally.Tally(one, keep) for one, keep in zip(self._members, whole, strict=True)]
    share = len(range(worker, self._count, workers))
    start = said = time.monotonic()
    with pipeline.named_failures(self._feed):
      for batch in self._batches(worker, workers):
        for one, found in zip(tallies, self._answers(batch.image), strict=True):
          one.add(found, batch)
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
          said = time.monotonic()
          self._tell(tallies[0].count, share, said - start)
    if tallies[0].count != share:
      raise errors.IntegrityError(
        f"{tallies[0].count:.0f} images were evaluated, and {share} of the split's {self._count} "
        "were to be"
      )
    return [one.measured() for one in tallies]

  def _ask(self, views) -> tuple[tf.Tensor, ...]:
    return self.predictor.each(views) if len(self._members) > 1 else (self.predictor(views),)

  def _answers(self, views) -> tuple[tf.Tensor, ...]:
    shape = tuple(tuple(view.shape) for view in tf.nest.flatten(views))
    if len(self._shapes) < self._most_shapes:
      self._shapes.add(shape)
    return self._compiled(views) if shape in self._shapes else self._graph(views)

  def _tell(self, done: float, share: int, seconds: float) -> None:
    left = datetime.timedelta(seconds=round((share - done) * seconds / done))
    _log.info(
      "evaluated %d of %d images, %.3g img/s, ETA %s (%s)",
      done,
      share,
      done / seconds,
      left,
      self.protocol,
    )


def _is_mean(predictor: contracts.Predictor) -> bool:
  return len(getattr(predictor, "members", ())) > 1


def check_rule(records: shards.Shards) -> None:
  """Raises UsageError where the set's pictures were resized by another rule than ours."""
  rule = records.manifest.options.get("pixels", {}).get("resize", schema.RESIZE)
  if rule != schema.RESIZE:
    raise errors.UsageError(
      f"the stored scales were resized by {rule!r}, an evaluation resizes by {schema.RESIZE!r}; "
      "convert the data again"
    )
