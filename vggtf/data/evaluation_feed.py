"""Every image of a split once, in batches that a predictor can look at together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, images, schema
from vggtf.data import reader, shards, threads

_PREFETCH = 2  # batches ahead
_BLOCK = 32  # records that are read at once


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
    records.warn_of_enlarging(max(scales))
    self._stored = {q: 0 if originals else records.sufficient_scale(q) for q in scales}
    self._read_scales = sorted(set(self._stored.values()))
    for scale in self._read_scales:
      records.at_scale(scale)  # damage is found now
    encoded = tf.TensorSpec([len(self._read_scales)], tf.string)
    self._reader = reader.Reader(self._read, (encoded, *reader.STORED[1:]))

  def batches(self, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Returns contracts.Batch es in a fixed order, of one process's share of the images.

    A predictor of fixed size gets batches of one shape, the last one padded with weight 0; for
    another, images of one size are gathered and no pixel is ever padded.

    Args:
      worker: which process this is, 0 to workers - 1; its images are those whose number modulo
        `workers` is this.
      workers: how many processes share the split.

    Raises:
      IntegrityError: a record is damaged.
    """
    numbers = np.arange(worker, self._records.count, workers)
    batch_of, sizes = np.zeros_like(numbers), np.array([self._batch_size])
    fixed = self._predictor.fixed_size
    if not fixed:
      numbers, batch_of, sizes = self._plan(numbers)
    dataset = tf.data.Dataset.from_tensor_slices((numbers, batch_of)).batch(_BLOCK)
    dataset = dataset.map(
      lambda numbers, batch_of: (*self._reader(numbers), batch_of),
      num_parallel_calls=2,
      deterministic=True,
    ).unbatch()
    see = (lambda *row: self._see(*row)[1]) if fixed else self._see
    dataset = dataset.map(see, num_parallel_calls=threads.cores(), deterministic=True)
    if fixed:
      dataset = dataset.batch(self._batch_size).map(self._pad)
    else:
      # The images come in the order of their batches: none waits for another of its size.
      dataset = dataset.group_by_window(
        lambda batch, _: batch,
        lambda _, group: group.map(lambda _, seen: seen).batch(self._batch_size),
        window_size_func=lambda batch: tf.gather(sizes, batch),
      )
    return threads.untuned(dataset.prefetch(_PREFETCH))

  def raise_failure(self) -> None:
    """Raises what went wrong in reading, if anything did."""
    self._reader.raise_failure()

  def _plan(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decides which of these images make a batch, equal sizes together.

    It looks into every record once: the sizes are in no index.

    Returns:
      The images' numbers, batch after batch, the batch of each, and how many each batch has.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number in numbers.tolist():
      record = self._records.read(number, self._read_scales[0])
      groups.setdefault(self._sizes(record), []).append(number)
    numbers, sizes = [], []
    for key, group in groups.items():
      most = self._most(*key[:2])
      sizes += [len(group[first : first + most]) for first in range(0, len(group), most)]
      numbers += group
    batch_of = np.repeat(np.arange(len(sizes)), sizes)
    return np.array(numbers, np.int64), batch_of, np.array(sizes or [1], np.int64)

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

  def _read(self, numbers: np.ndarray) -> reader.Columns:
    rows = []
    for number in numbers.tolist():
      stored = [reader.stored(self._records.read(number, scale)) for scale in self._read_scales]
      encoded, labels, ids = zip(*stored, strict=True)
      if len(set(ids)) > 1:
        raise errors.IntegrityError(
          f"record {number} of the split is {' and '.join(map(bytes.decode, ids))}, by its scale; "
          "convert the data again"
        )
      rows.append((encoded, labels[0], ids[0]))
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
