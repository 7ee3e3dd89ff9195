"""The threads of tf.data's pipelines: as many as there are cores, and none that tunes them."""

from __future__ import annotations

import os

import tensorflow as tf


def cores() -> int:
  """Returns how many cores this process may use."""
  return len(os.sched_getaffinity(0))


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """Returns the data set, all of whose maps have to say in how many threads they run.

  What tunes them is a thread that sleeps for longer and longer, up to a minute, and is woken as its
  iterator is freed; but TensorFlow 2.21 sets the flag that it looks at only after that. Where it
  looks first it sleeps on, and with it whoever frees the iterator: a run of 25 seconds on one core
  took 18 more to end.
  """
  options = tf.data.Options()
  options.autotune.enabled = False
  return dataset.with_options(options)
