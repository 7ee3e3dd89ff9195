"""What TensorFlow raises in a training, and what becomes of it: errors of its own making."""

import types

import pytest
import tensorflow as tf

from vggtf import errors
from vggtf.training import failures


def named(do):
  with failures.named(types.SimpleNamespace(batch_size=32, raise_failure=lambda: None), 2, 100):
    do()


@pytest.mark.slow  # TensorFlow's allocator tries for ten seconds
def test_memory_that_does_not_suffice_says_what_to_lower():
  """T2."""
  with pytest.raises(errors.EnvironmentFault, match="batches of 32 images on 2 devices; lower"):
    named(lambda: tf.zeros([1 << 50]))


def test_a_step_that_xla_cannot_compile_is_named_and_not_run_without_it():
  """T9."""

  @tf.function(jit_compile=True)
  def step():
    return tf.numpy_function(lambda: 1.0, [], tf.float32)

  with pytest.raises(errors.EnvironmentFault, match=r"cannot compile.*PyFunc.*jit_compile = Fal"):
    named(step)


def test_images_that_end_early_are_no_short_run():
  """T5."""
  step = tf.function(lambda batches: next(batches))
  with pytest.raises(errors.IntegrityError, match="images end before step 100; expected a feed"):
    named(lambda: step(iter(tf.data.Dataset.range(0))))


def test_what_is_none_of_these_stays_what_it_is():
  with pytest.raises(tf.errors.InvalidArgumentError):
    named(lambda: tf.reshape(tf.zeros([3]), [2]))
