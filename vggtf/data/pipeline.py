"""tf.data pipelines: records by number in, batches out.

The records are read by a Python function, a batch at a time, from mapped files: on one core it
keeps up with 20,000 images a second, three times what a tf.data set per record does, and a damaged
record can be named. Decoding and all that is heavy runs in TensorFlow's threads, each of which
makes a batch of its own: passing single images between threads takes longer than flipping them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, images, manifest, schema
from vggtf.data import boxes as boxes_
from vggtf.data import order, reader, shards, threads, train_view

_log = logging.getLogger(__name__)
_PREFETCH = 2  # batches ready ahead of the step


class TrainingFeed:
  """The endless stream of training batches of a split.

  A damaged image ends the run, unless `max_damaged` allows for it: then the next sound one in the
  order of the files is seen in its place, at the same crop, which depends on nothing but the files.
  It is warned of by name and counted. Finding images that do not decode takes decoding each twice.

  Args:
    data_dir: a converted data set.
    side: of the crops, pixels; the net's input size.
    seed: of order and views.
    view: makes what is seen of each image from the set's statistics.
    batch_size: images of a global batch.
    split: which images.
    max_damaged: how many stored images may be damaged; one more ends the run.
    preload: whether the files of all scales that crops are cut from are read once, from end to end,
      before the first step, so that the system keeps them in memory. It pays where they fit into
      it and lie on a disk that seeks or on a network, for the order of training is random.
    boxes: whether the labels are contracts.Located, with the largest box of the image's class as
      the crop shows it; images without one are left out (appendix A.1).
  """

  def __init__(
    self,
    data_dir: str,
    side: int,
    seed: int,
    view: Callable[[manifest.Statistics], train_view.TrainView],
    batch_size: int = 256,
    split: str = "train",
    max_damaged: int = 0,
    preload: bool = False,
    boxes: bool = False,
  ):
    records = shards.Shards(data_dir, split)
    if not 0 < batch_size <= records.count:
      raise errors.UsageError(
        f"TrainingFeed.batch_size = {batch_size}: expected 1 to {records.count}, the images of the "
        f"split {split!r}"
      )
    if max_damaged < 0:
      raise errors.UsageError(f"TrainingFeed.max_damaged = {max_damaged}: expected 0 or more")
    view = view(records.manifest.statistics)
    if side > view.scale_min:
      raise errors.UsageError(
        f"crops of {side} pixels do not fit into images of smallest side {view.scale_min}: raise "
        "TrainView.scale_min or lower the model's input_size"
      )
    if view.padding >= side:
      raise errors.UsageError(
        f"TrainView.padding = {view.padding}: expected less than {side}, the side of the crops"
      )
    self.records, self.batch_size = records, batch_size
    self.view, self.side, self._seed = view, side, seed
    self._max_damaged, self._damaged = max_damaged, set[tuple[int, int]]()
    columns = (*reader.STORED, *tf.nest.flatten(train_view.SPEC), *([boxes_.SPEC] * boxes))
    self._reader = reader.Reader(self._read, columns)
    scales = range(view.scale_min, view.scale_max + 1)
    records.warn_of_enlarging(view.scale_max)
    self._nearest = {scale: records.nearest_scale(scale) for scale in scales}
    used = sorted(set(self._nearest.values()))
    for scale in used:
      records.at_scale(scale)  # damage is found now, not hours later
    self._boxes, self._numbers = None, range(records.count)  # those of the records that are seen
    if boxes:
      leave_out = functools.partial(self._count_damage, fate="left out")
      self._boxes = boxes_.Largest(records, used[0], batch_size, leave_out)
      self._numbers = self._boxes.numbers
    if preload:
      records.preload(used)

  def batches(self, first_step: int, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Returns contracts.Batch es, the one for step `first_step` first.

    Args:
      first_step: steps done before.
      worker: which of the equal parts of every global batch is wanted, counted from 0; no image of
        another is read.
      workers: how many parts there are.

    Raises:
      UsageError: a batch cannot be divided so.
    """
    if self.batch_size % workers:
      raise errors.UsageError(
        f"TrainingFeed.batch_size = {self.batch_size} cannot be divided equally among {workers} "
        f"processes: choose a multiple of {workers}"
      )
    dataset = self.rows(first_step, worker, workers)
    dataset = dataset.map(self._see, num_parallel_calls=threads.cores(), deterministic=True)
    return dataset.prefetch(_PREFETCH)

  def rows(self, first_step: int = 0, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Returns `batches` of images as they are stored: encoded, label, id and a View."""
    part = self.batch_size // workers

    def read(step):
      first = step * self.batch_size + worker * part
      encoded, label, id_, *view = self._reader(first + tf.range(part, dtype=tf.int64))
      if self._boxes:
        label = contracts.Located(label, view.pop())
      return encoded, label, id_, tf.nest.pack_sequence_as(train_view.SPEC, view)

    steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max // self.batch_size)
    return threads.untuned(steps.map(read, num_parallel_calls=2, deterministic=True))

  def raise_failure(self) -> None:
    """Raises what went wrong in reading, if anything did: TensorFlow hides its type."""
    self._reader.raise_failure()

  def damage(self) -> tuple[int, int]:
    """Returns the number of images that were found damaged and replaced, and of the split's."""
    return len(self._damaged), len(self._numbers)

  def _read(self, positions: np.ndarray) -> reader.Columns:
    epochs, places = order.records_at(positions, self._seed, len(self._numbers))
    epochs, places = epochs.tolist(), places.tolist()
    uniform = np.stack(
      [
        order.uniform(self._seed, epoch, self._numbers[place])
        for epoch, place in zip(epochs, places, strict=True)
      ]
    )
    scales = self.view.scales(uniform)
    found = [
      self._read_sound(place, self._nearest[scale])
      for place, scale in zip(places, scales.tolist(), strict=True)
    ]
    numbers, pictures = zip(*found, strict=True)
    sizes = np.array([(picture.height, picture.width) for picture in pictures])
    view = self.view.choose(sizes, scales, uniform, self.side)
    columns = (*zip(*map(reader.stored, pictures), strict=True), *tf.nest.flatten(view))
    if not self._boxes:
      return columns
    return *columns, boxes_.see(self._boxes.boxes[list(numbers)], sizes, view, self.side)

  def _read_sound(self, place: int, scale: int) -> tuple[int, schema.Picture]:
    """Returns a record's number and picture, from its place among those that are seen."""
    while True:
      number = self._numbers[place]
      try:
        picture = self.records.read_picture(number, scale)
        if self._max_damaged:
          _check_decodes(picture)
        return number, picture
      except errors.IntegrityError as error:
        if not self._max_damaged:
          raise
        self._count_damage((number, scale), error)
        place = (place + 1) % len(self._numbers)

  def _count_damage(
    self,
    place: tuple[int, int],
    error: errors.IntegrityError,
    fate: str = "replaced by the next one",
  ):
    if place in self._damaged:
      return
    if len(self._damaged) >= min(self._max_damaged, len(self._numbers) - 1):
      raise errors.IntegrityError(
        f"{error}; TrainingFeed.max_damaged = {self._max_damaged} such images were allowed before"
      ) from error
    self._damaged.add(place)
    _log.warning("damaged image %d, %s: %s", len(self._damaged), fate, error)

  def _see(self, encoded, label, id_, view) -> contracts.Batch:
    image = one_by_one(lambda *row: self.view.show(*row, self.side), encoded, view)
    image = tf.ensure_shape(image, [None, self.side, self.side, 3])
    return contracts.Batch(image, label, tf.ones(id_.shape), id_)


def one_by_one(see: Callable[..., tf.Tensor], encoded: tf.Tensor, view: train_view.View):
  """Returns uint8 [N, ...]: what `see` makes of N images, one after another."""
  return tf.map_fn(
    lambda row: see(*row), (encoded, view), parallel_iterations=1, fn_output_signature=tf.uint8
  )


@contextlib.contextmanager
def named_failures(feed: contracts.Feed) -> Iterator[None]:
  """Says what went wrong in reading: TensorFlow hides our errors' types behind its own.

  Raises:
    IntegrityError: a record is damaged, or its image cannot be decoded.
  """
  try:
    yield
  except tf.errors.OpError as error:
    feed.raise_failure()
    if "JPEG" not in error.message:
      raise
    reason = error.message.partition("\n")[0].rpartition("}} ")[2]  # without TensorFlow's places
    raise errors.IntegrityError(
      f"an image cannot be decoded ({reason}); python -m data_tools.verify --decode=all names it"
    ) from error


def _check_decodes(picture: schema.Picture) -> None:
  try:
    images.decode(picture.encoded)
  except tf.errors.InvalidArgumentError as error:
    raise errors.IntegrityError(
      f"image {picture.id!r} cannot be decoded ({error.message}); convert the data again"
    ) from error
