"""Steps that are asked to stop while TensorFlow takes many of them in one call."""

import numpy as np
import tensorflow as tf

from tests.training import parts
from vggtf.optimizers import schedules


def test_a_block_ends_with_the_step_that_is_being_taken():
  ours, same = (parts.build(schedule=schedules.Constant(3e-5)) for _ in range(2))
  given = parts.arrays(20)
  batches = tf.data.Dataset.from_tensor_slices(given)

  def ask(at):
    if at == 5:
      ours.take.stop_soon()
    return at

  asking = tf.data.Dataset.range(20).map(lambda at: tf.numpy_function(ask, [at], tf.int64))
  asking = tf.data.Dataset.zip(batches, asking).map(lambda batch, _: batch)
  block = ours.take.block(iter(asking), 20)
  assert block.stop
  assert block.steps in (5, 6, 7)  # tf.data may be a batch ahead, and what asks has no order
  assert int(ours.done) == block.steps
  expected = same.take.block(iter(batches), block.steps)
  assert (expected.steps, expected.stop) == (block.steps, False)
  assert expected.scalars == block.scalars
  found = parts.values(same)
  for name, value in parts.values(ours).items():
    np.testing.assert_array_equal(value, found[name])
  one = ours.take.block(iter(batches), 20)
  assert (one.steps, one.stop) == (1, True)
