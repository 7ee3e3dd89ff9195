"""A batch that is computed in slices, one after another: the same sums in less memory.

Only one slice's activations are alive at a time. What a net computes from several images together
is the slice's: batch norm's statistics, of which the moving ones follow the mean over the slices,
as they do over replicas.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from vggtf import errors

# (image, label, weight, seed, first example) -> (sums of gradients, new statistics, other sums)
Compute = Callable[..., tuple[list[tf.Tensor], list[tf.Tensor], dict[str, tf.Tensor]]]


def in_slices(compute: Compute, slices: int, examples: int) -> Compute:
  """Returns `compute`, which sums over the examples that it is given, taken slice by slice.

  Args:
    compute: takes image, label and weight of some examples, a seed, and the place of the first of
      them in the global batch, so that each example keeps its dropout masks.
    slices: how many, of equal size.
    examples: that the result will be given, those of one replica.

  Raises:
    UsageError: the examples cannot be divided so.
  """
  if slices < 1 or examples % slices:
    raise errors.UsageError(
      f"TrainStep.slices = {slices}: expected a divisor of {examples}, the images of a "
      "batch on one replica"
    )
  if slices == 1:
    return compute
  size = examples // slices

  def compute_all(image, label, weight, seed, first_example):
    batch = tf.nest.map_structure(
      lambda one: tf.reshape(one, (slices, size, *one.shape[1:])), (image, label, weight)
    )

    def take(index):
      own = tf.nest.map_structure(lambda one: one[index], batch)
      gradients, *rest = compute(*own, seed, first_example + index * size)
      return [tf.cast(one, tf.float32) for one in gradients], *rest

    def add(index, total):
      return index + 1, tf.nest.map_structure(tf.add, total, take(index))

    # The first one, outside of the loop, gives the sums their structure.
    _, (gradients, statistics, sums) = tf.while_loop(
      lambda index, _: index < slices, add, (tf.constant(1), take(0)), parallel_iterations=1
    )
    return gradients, [one / slices for one in statistics], sums

  return compute_all
