"""Layers whose activations are not kept for the backward pass, but computed again in it."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts


def recompute(
  layers: Callable[[tf.Tensor, contracts.Training], tf.Tensor],
  maps: tf.Tensor,
  training: contracts.Training,
) -> tf.Tensor:
  """Returns `layers(maps, training)`, of which only `maps` stay in memory (Chen et al., 2016).

  The second time gives the same values: masks of dropout are a function of the training's seed, and
  norms' new statistics are taken from the first time.
  """
  moved = []

  def compute(maps):
    again = dataclasses.replace(training, updates=[])
    result = layers(maps, again)
    moved[:] = [variable for variable, _ in again.updates]
    return result, *(value for _, value in again.updates)

  result, *values = tf.recompute_grad(compute)(maps)
  training.updates.extend(zip(moved, values, strict=True))
  return result
