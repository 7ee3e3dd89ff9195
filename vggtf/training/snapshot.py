"""A state as it is now, to be written while training goes on."""

from __future__ import annotations

import tensorflow as tf


def take(state: tf.train.Checkpoint) -> tf.train.Checkpoint:
  """Returns a copy of all variables, in the host's memory, that is written as the same checkpoint.

  On a CPU it takes no time and at first no memory: the copy shares each variable's buffer, which an
  update that finds it shared leaves alone, for another. So a state is in memory twice at most.

  Args:
    state: of modules, lists and dictionaries of variables, each variable some part's attribute
      (not a slot variable of a Keras 2 optimizer).
  """
  with tf.device("/device:CPU:0"):
    return _copy(state, {}, tf.train.Checkpoint())


def _copy(node, copies: dict[int, tf.Module | tf.Variable], copy: tf.Module):
  """Returns `copy` with copies of all that is below `node`; what occurs twice is copied once."""
  copies[id(node)] = copy
  for name, child in tf.train.TrackableView.children(node).items():
    if id(child) not in copies:
      if isinstance(child, tf.Variable):
        title = child.name.partition(":")[0]
        copies[id(child)] = tf.Variable(tf.identity(child), trainable=False, name=title)
      else:
        _copy(child, copies, tf.Module())
    setattr(copy, name, copies[id(child)])
  return copy
