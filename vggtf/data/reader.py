"""Records read by a Python function, many at a time, for tf.data pipelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from vggtf import errors, schema

Columns = Sequence[Sequence]
# The columns that `stored` fills: encoded, label, id.
STORED = (tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.string))


class Reader:
  """Calls a Python function from a tf.data pipeline and remembers its error.

  Args:
    read: which records, int64 -> columns, of a value for each record.
    columns: of what type and shape the values are.
  """

  def __init__(self, read: Callable[[np.ndarray], Columns], columns: tuple[tf.TensorSpec, ...]):
    self._read, self._columns = read, columns
    self._failure: errors.VggtfError | None = None

  def __call__(self, which: tf.Tensor) -> tuple[tf.Tensor, ...]:
    tensors = tf.numpy_function(self._call, [which], [c.dtype for c in self._columns])
    return tuple(
      tf.ensure_shape(tensor, [*which.shape, *column.shape])
      for tensor, column in zip(tensors, self._columns, strict=True)
    )

  def raise_failure(self) -> None:
    if self._failure:
      raise self._failure

  def _call(self, which: np.ndarray) -> tuple[np.ndarray, ...]:
    try:
      columns = self._read(which)
    except errors.VggtfError as error:
      self._failure = error
      raise
    return tuple(
      np.asarray(values, column.dtype.as_numpy_dtype)
      for values, column in zip(columns, self._columns, strict=True)
    )


def stored(record: schema.Record) -> tuple[bytes, int, bytes]:
  """Returns the columns STORED of a record: encoded, label, id."""
  return record.encoded, record.label, record.id.encode()
