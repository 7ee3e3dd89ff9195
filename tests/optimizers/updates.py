"""Ten and more updates of three variables by an optimizer, in any form."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

NAMES = ("conv1_1/weights", "conv1_1/biases", "fc8/weights")
SHAPES = ((3, 3, 2, 4), (4,), (5, 6))
RATES = [0.1] * 6 + [0.01] * 6  # momentum goes across a drop of the rate

FORMS = [{}, {"jit_compile": False}, {"jit_compile": True}]  # eager, function, XLA


def draw(count: int = 1) -> list[list[np.ndarray]]:
  """Returns so many values of the variables, float64; the first are `run`'s initial ones."""
  generator = np.random.default_rng(1)
  return [[generator.standard_normal(shape) for shape in SHAPES] for _ in range(count)]


def variables() -> list[tf.Variable]:
  return [
    tf.Variable(value, dtype=tf.float32, name=name)
    for name, value in zip(NAMES, draw()[0], strict=True)
  ]


def run(
  constructor: Callable,
  gradients: Sequence[Sequence[np.ndarray]],
  rates: Sequence[float],
  decay=None,
  **function_options,
) -> list[np.ndarray]:
  """Returns the variables after the updates, in a function unless no options are given."""
  targets = variables()
  optimizer = constructor()
  optimizer.build(targets)

  def update(gradients, rate):
    if decay:
      gradients = decay.add(gradients, targets)
    optimizer.apply(gradients, rate)

  if function_options:
    update = tf.function(update, **function_options)
  for step, rate in zip(gradients, rates, strict=True):
    update([tf.constant(one, tf.float32) for one in step], tf.constant(rate))
  return [variable.numpy() for variable in targets]


def assert_close(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
  """Both in the variables and in how far they moved."""
  for ours, theirs, first in zip(found, expected, draw()[0], strict=True):
    assert np.linalg.norm(ours - theirs) < 1e-6 * np.linalg.norm(theirs)
    assert np.linalg.norm(ours - theirs) < 1e-5 * np.linalg.norm(theirs - first)
