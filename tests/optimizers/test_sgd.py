"""The update rule against NumPy in float64, and PyTorch where the two agree."""

import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers import updates
from tests.optimizers.updates import draw
from tests.peers import needs_torch, torch
from vggtf.losses import weight_decay
from vggtf.optimizers import sgd


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("form", updates.FORMS)
def test_updates_by_hand_across_a_drop_of_the_rate(form, nesterov):
  gradients = draw(12)
  weights = draw()[0]
  velocities = [np.zeros(one.shape) for one in weights]
  for step, rate in zip(gradients, updates.RATES, strict=True):
    for index, gradient in enumerate(step):
      bias = weights[index].ndim == 1
      gradient = gradient + (0.0 if bias else 5e-2 * weights[index])
      before = velocities[index]
      velocities[index] = 0.9 * before + rate * (2 if bias else 1) * gradient
      # Caffe's NesterovSolver writes it so.
      moved = 1.9 * velocities[index] - 0.9 * before if nesterov else velocities[index]
      weights[index] = weights[index] - moved
  found = updates.run(
    lambda: sgd.SGD(nesterov=nesterov), gradients, updates.RATES, weight_decay.L2(5e-2), **form
  )
  updates.assert_close(found, weights)


@needs_torch
@pytest.mark.parametrize("nesterov", [False, True])
def test_updates_are_those_of_torch_while_the_rate_is_constant(nesterov):
  gradients = draw(10)
  parameters = [torch.nn.Parameter(torch.tensor(value)) for value in draw()[0]]
  groups = [
    {"params": [one], "lr": 0.1 if one.ndim > 1 else 0.2, "weight_decay": 5e-2 * (one.ndim > 1)}
    for one in parameters
  ]
  optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=nesterov)
  for step in gradients:
    for parameter, gradient in zip(parameters, step, strict=True):
      parameter.grad = torch.tensor(gradient)
    optimizer.step()
  found = updates.run(
    lambda: sgd.SGD(nesterov=nesterov), gradients, [0.1] * 10, weight_decay.L2(5e-2)
  )
  updates.assert_close(found, [one.detach().numpy() for one in parameters])


def test_updates_inside_a_replica():
  strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
  gradients = draw(3)
  with strategy.scope():
    variables = updates.variables()
    optimizer = sgd.SGD()
    optimizer.build(variables)

  @tf.function
  def update(*gradients):
    strategy.run(lambda *given: optimizer.apply(given, tf.constant(0.1)), gradients)

  for step in gradients:
    update(*[tf.constant(one, tf.float32) for one in step])
  for ours, expected in zip(variables, updates.run(sgd.SGD, gradients, [0.1] * 3), strict=True):
    np.testing.assert_array_equal(ours.numpy(), expected)


def test_checkpoint_holds_the_velocities_and_nothing_else(tmp_path):
  variable = tf.Variable([1.0, 2.0], name="fc8/biases")
  optimizer, restored = sgd.SGD(), sgd.SGD()
  optimizer.build([variable])
  restored.build([variable])
  optimizer.apply([tf.constant([1.0, -1.0])], tf.constant(0.1))
  assert len(optimizer.variables) == 1
  path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "state"))
  assert sum(name.startswith("optimizer") for name, _ in tf.train.list_variables(path)) == 1
  tf.train.Checkpoint(optimizer=restored).read(path).assert_consumed()
  np.testing.assert_array_equal(restored.velocities[0], optimizer.velocities[0])
  assert optimizer.velocities[0].numpy().any()


def test_another_number_of_gradients_is_an_error():
  optimizer = sgd.SGD()
  optimizer.build([tf.Variable([1.0])])
  with pytest.raises(ValueError, match="zip"):
    optimizer.apply([], tf.constant(0.1))
