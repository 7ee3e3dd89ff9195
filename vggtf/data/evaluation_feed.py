"""Every image of a split once, in batches that a predictor can look at together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, images, schema
from vggtf.data import reader, shards

_PREFETCH = 2  # batches ahead


class EvaluationFeed:
  """Every image of a split once, as a predictor wants to see it.

  Each scale that the predictor looks at is made from the smallest stored one that suffices.

  Args:
    records: the split.
    predictor: prepares the images.
    batch_size: images a batch, at most.
    side: the net's input size. A batch of larger images has no more pixels than `batch_size` images
      of this side; None for no such limit.
    originals: whether the original files are read, which the set must have (scale 0).
  """

  def __init__(
    self,
    records: shards.Shards,
    predictor: contracts.Predictor,
    batch_size: int,
    side: int | None = None,
    originals: bool = False,
  ):
    if batch_size < 1:
      raise errors.UsageError(f"batch_size = {batch_size}: expected 1 or more")
    if originals and 0 not in records.scales:
      raise errors.UsageError(
        "the data set has no original files (scale 0): convert with --scales=0,256 and so on"
      )
    self._records, self._predictor = records, predictor
    self._batch_size, self._side = batch_size, side
    scales = getattr(predictor, "scales", (predictor.scale,))
    self._stored = {q: 0 if originals else records.sufficient_scale(q) for q in scales}
    self._read_scales = sorted(set(self._stored.values()))
    for scale in self._read_scales:
      records.at_scale(scale)  # damage is found now
    self._numbers = np.arange(records.count)
    self._batch_of = np.zeros(records.count, np.int64)
    encoded = tf.TensorSpec([len(self._read_scales)], tf.string)
    columns = (encoded, *reader.STORED[1:], tf.TensorSpec([], tf.int64))
    self._reader = reader.Reader(self._read, columns)

  def batches(self) -> tf.data.Dataset:
    """Returns contracts.Batch es in a fixed order.

    A predictor of fixed size gets batches of one shape, the last one padded with weight 0; for
    another, images of one size are gathered and no pixel is ever padded.

    Raises:
      IntegrityError: a record is damaged.
    """
    sizes = np.array([self._batch_size], np.int64)
    if not self._predictor.fixed_size:
      sizes = self._plan()
    dataset = tf.data.Dataset.range(0, self._records.count, reader.BLOCK)
    dataset = dataset.map(self._reader, num_parallel_calls=2, deterministic=True).unbatch()
    fixed = self._predictor.fixed_size
    see = (lambda *row: self._see(*row)[1]) if fixed else self._see
    dataset = dataset.map(see, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if fixed:
      dataset = dataset.batch(self._batch_size).map(self._pad)
    else:
      # The images come in the order of their batches: none waits for another of its size.
      dataset = dataset.group_by_window(
        lambda batch, _: batch,
        lambda _, group: group.map(lambda _, seen: seen).batch(self._batch_size),
        window_size_func=lambda batch: tf.gather(sizes, batch),
      )
    return dataset.prefetch(_PREFETCH)

  def raise_failure(self) -> None:
    """Raises what went wrong in reading, if anything did."""
    self._reader.raise_failure()

  def _plan(self) -> np.ndarray:
    """Decides which images make a batch, equal sizes together; returns how many each has.

    It looks into every record once: the sizes are in no index.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number in range(self._records.count):
      record = self._records.read(number, self._read_scales[0])
      groups.setdefault(self._sizes(record), []).append(number)
    numbers, sizes = [], []
    for key, group in groups.items():
      most = self._most(*key[:2])
      sizes += [len(group[first : first + most]) for first in range(0, len(group), most)]
      numbers += group
    self._numbers = np.array(numbers, np.int64)
    self._batch_of = np.repeat(np.arange(len(sizes)), sizes)
    return np.array(sizes or [1], np.int64)

  def _sizes(self, record: schema.Record) -> tuple[int, ...]:
    """Returns what is equal only for images whose prepared forms have equal shapes.

    The first two are height and width at the largest scale that is looked at.
    """
    original = record.original_height, record.original_width
    key = list(schema.stored_size(*original, max(self._stored)))
    for scale in self._read_scales:
      for upscale in (True, False):  # as the conversion may have been told
        key += schema.stored_size(*original, scale, upscale)
    return tuple(key)

  def _most(self, height: int, width: int) -> int:
    """Returns how many images of this size a batch may have."""
    if self._side is None:
      return self._batch_size
    by_pixels = self._batch_size * self._side**2 // (height * width)
    return min(max(by_pixels, 1), self._batch_size)

  def _read(self, first: np.ndarray) -> reader.Columns:
    rows = []
    for place in range(int(first), min(int(first) + reader.BLOCK, self._records.count)):
      number = int(self._numbers[place])
      stored = [reader.stored(self._records.read(number, scale)) for scale in self._read_scales]
      encoded, labels, ids = zip(*stored, strict=True)
      if len(set(ids)) > 1:
        raise errors.IntegrityError(
          f"record {number} of the split is {' and '.join(map(bytes.decode, ids))}, by its scale; "
          "convert the data again"
        )
      rows.append((encoded, labels[0], ids[0], self._batch_of[place]))
    return tuple(zip(*rows, strict=True))

  def _see(self, encoded, label, id_, batch) -> tuple[tf.Tensor, contracts.Batch]:
    decoded = {
      scale: images.decode(encoded[place]) for place, scale in enumerate(self._read_scales)
    }
    if hasattr(self._predictor, "scales"):
      picture = {scale: decoded[stored] for scale, stored in self._stored.items()}
    else:
      (picture,) = decoded.values()
    view = self._predictor.prepare(picture)
    return batch, contracts.Batch(view, label, tf.constant(1.0), id_)

  def _pad(self, batch: contracts.Batch) -> contracts.Batch:
    def pad(values):
      missing = self._batch_size - tf.shape(values)[0]
      padded = tf.pad(values, [[0, missing]] + [[0, 0]] * (values.shape.rank - 1))
      return tf.ensure_shape(padded, [self._batch_size, *values.shape[1:]])

    return tf.nest.map_structure(pad, batch)
