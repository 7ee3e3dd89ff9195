"""Sums over replicas, in messages that are neither many nor large."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# Gradients travel in packs of about this size, the last layer's first, so that those of the
# fully-connected layers, nine tenths of a VGG net's, are on their way while the convolutions' are
# still computed. In one pack all would wait for the first layer's. Between processes a larger
# gradient is cut up, too: what gRPC copies in blocks of over 32 MiB malloc asks the system for anew
# each time, and the sum of net D's gradients took two to six times as long (docs/performance.md).
BYTES_PER_PACK = 8 << 20


def sum_over_replicas(tensors: Any, dtype: tf.DType = tf.float32) -> Any:
  """Adds up what the replicas have; called in each of them.

  Args:
    tensors: a nest of floating tensors.
    dtype: in which they travel and are added.

  Returns:
    The sums, a nest like it, float32, the same bits in every replica; one replica alone has its own
    tensors back, as they are.
  """
  context = tf.distribute.get_replica_context()
  if context.num_replicas_in_sync == 1:
    return tensors
  options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=BYTES_PER_PACK)
  sent = [tf.cast(one, dtype) for one in tf.nest.flatten(tensors)]
  if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
    parts = context.all_reduce(tf.distribute.ReduceOp.SUM, [cut(one) for one in sent], options)
    received = [
      tf.reshape(tf.concat(of_one, axis=0), one.shape)
      for of_one, one in zip(parts, sent, strict=True)
    ]
  else:
    received = context.all_reduce(tf.distribute.ReduceOp.SUM, sent, options)
  return tf.nest.pack_sequence_as(tensors, [tf.cast(one, tf.float32) for one in received])


def cut(tensor: tf.Tensor) -> list[tf.Tensor]:
  """Returns a tensor's values in order as vectors, each of them but the last as large as a pack."""
  values = tf.reshape(tensor, [-1])
  most = BYTES_PER_PACK // tensor.dtype.size
  firsts = range(0, max(1, values.shape[0]), most)
  return [values[first : first + most] for first in firsts]
