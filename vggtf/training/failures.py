"""TensorFlow's errors in a training, told as what a person can act upon."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from vggtf import contracts, errors

_XLA = re.compile(r"_XlaMustCompile|XLA_\w+_JIT|tf2xla|XLA compilation", re.IGNORECASE)


@contextlib.contextmanager
def named(feed: contracts.Feed, replicas: int, steps: int) -> Iterator[None]:
  """Says what TensorFlow's errors mean for a run.

  Args:
    feed: its training images.
    replicas: devices that share a batch.
    steps: how long it trains.

  Raises:
    EnvironmentFault: there is not enough memory, or XLA cannot compile the step.
    IntegrityError: the training images end early.
  """
  try:
    yield
  except tf.errors.ResourceExhaustedError as error:
    raise errors.EnvironmentFault(
      f"out of memory with batches of {feed.batch_size} images on {replicas} devices; lower the "
      "batch size, or use more devices"
    ) from error
  except tf.errors.OutOfRangeError as error:
    feed.raise_failure()
    raise errors.IntegrityError(
      f"the training images end before step {steps}; expected a feed without end: look for what "
      "ends it, and repeat() a data set of your own"
    ) from error
  except tf.errors.OpError as error:
    if not _XLA.search(error.message):
      raise
    raise errors.EnvironmentFault(
      f"XLA cannot compile the step for this device ({' '.join(error.message.split())[:400]}); "
      "train without it, with TrainStep.jit_compile = False, or change the layer that it names"
    ) from error
