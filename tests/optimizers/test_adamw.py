"""AdamW against PyTorch, NumPy in float64, and itself after a checkpoint."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers import updates
from tests.peers import needs_torch, torch
from vggtf.optimizers import adamw

RATES = [1e-2] * 6 + [1e-3] * 6
DECAY = 0.1


@pytest.mark.parametrize("form", updates.FORMS)
@pytest.mark.parametrize("epsilon", [1e-8, 0.3])  # a large one shows where it is added
def test_updates_by_hand(form, epsilon):
  gradients = updates.draw(12)
  weights = updates.draw()[0]
  means, squares = ([np.zeros(one.shape) for one in weights] for _ in range(2))
  for count, (step, rate) in enumerate(zip(gradients, RATES, strict=True), 1):
    for index, gradient in enumerate(step):
      means[index] = 0.9 * means[index] + 0.1 * gradient
      squares[index] = 0.999 * squares[index] + 0.001 * gradient**2
      mean, square = means[index] / (1 - 0.9**count), squares[index] / (1 - 0.999**count)
      decay = DECAY if weights[index].ndim > 1 else 0.0
      weights[index] = weights[index] - rate * (
        decay * weights[index] + mean / (np.sqrt(square) + epsilon)
      )
  constructor = functools.partial(adamw.AdamW, decay=DECAY, epsilon=epsilon)
  updates.assert_close(updates.run(constructor, gradients, RATES, **form), weights)


@needs_torch
@pytest.mark.parametrize("epsilon", [1e-8, 0.3])
def test_updates_are_those_of_torch(epsilon):
  gradients = updates.draw(12)
  parameters = [torch.nn.Parameter(torch.tensor(value)) for value in updates.draw()[0]]
  optimizer = torch.optim.AdamW(parameters, weight_decay=DECAY, eps=epsilon)
  for step, rate in zip(gradients, RATES, strict=True):
    optimizer.param_groups[0]["lr"] = rate
    for parameter, gradient in zip(parameters, step, strict=True):
      parameter.grad = torch.tensor(gradient)
    optimizer.step()
  constructor = functools.partial(adamw.AdamW, decay=DECAY, biases=True, epsilon=epsilon)
  found = updates.run(constructor, gradients, RATES)
  updates.assert_close(found, [one.detach().numpy() for one in parameters])


def test_a_checkpoint_holds_moments_and_count_and_nothing_else(tmp_path):
  variable, gradient = tf.Variable([[1.0, 2.0]], name="fc8/weights"), [tf.constant([[1.0, -3.0]])]
  optimizer, restored = adamw.AdamW(), adamw.AdamW()
  optimizer.build([variable])
  optimizer.apply(gradient, tf.constant(0.1))
  path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "state"))
  assert sum(name.startswith("optimizer") for name, _ in tf.train.list_variables(path)) == 3

  copy = tf.Variable(variable)
  restored.build([copy])
  tf.train.Checkpoint(optimizer=restored).read(path).assert_consumed()
  for one in (optimizer, restored):
    one.apply(gradient, tf.constant(0.1))
  np.testing.assert_array_equal(copy, variable)


def test_whether_it_decays_is_known():
  assert adamw.AdamW().decays_weights
  assert not adamw.AdamW(decay=0.0).decays_weights
