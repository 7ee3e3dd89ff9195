"""Sums over replicas, in few large messages."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# Gradients travel in packs of about this size, the last layer's first, so that those of the
# fully-connected layers, nine tenths of a VGG net's, are on their way while the convolutions' are
# still computed. In one pack all would wait for the first layer's.
BYTES_PER_PACK = 32 << 20


def sum_over_replicas(tensors: Any, dtype: tf.DType = tf.float32) -> Any:
  """Adds up what the replicas have; called in each of them.

  Args:
    tensors: a nest of float32 tensors.
    dtype: in which they travel and are added; one replica alone rounds nothing.

  Returns:
    The sums, a nest like it, float32, the same bits in every replica.
  """
  context = tf.distribute.get_replica_context()
  if context.num_replicas_in_sync == 1:
    return tensors
  options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=BYTES_PER_PACK)
  sent = tf.nest.map_structure(lambda one: tf.cast(one, dtype), tensors)
  received = context.all_reduce(tf.distribute.ReduceOp.SUM, sent, options)
  return tf.nest.map_structure(lambda one: tf.cast(one, tf.float32), received)
