"""The update rule against NumPy in float64, and PyTorch where the two agree."""

import numpy as np
import pytest
import tensorflow as tf

from vggtf.losses import weight_decay
from vggtf.optimizers import sgd

SHAPES = [(3, 3, 2, 4), (4,), (5, 6)]
RATES = [0.1] * 6 + [0.01] * 6  # momentum goes across a drop of the rate


def draw(count=1):
  generator = np.random.default_rng(1)
  return [[generator.standard_normal(shape) for shape in SHAPES] for _ in range(count)]


def run(gradients, rates, decay=None, **function_options):
  """Returns the variables after the updates, in a function unless no options are given."""
  variables = [tf.Variable(value, dtype=tf.float32) for value in draw()[0]]
  optimizer = sgd.SGD()
  optimizer.build(variables)

  def update(gradients, rate):
    if decay:
      gradients = decay.add(gradients, variables)
    optimizer.apply(gradients, rate)

  if function_options:
    update = tf.function(update, **function_options)
  for step, rate in zip(gradients, rates, strict=True):
    update([tf.constant(one, tf.float32) for one in step], tf.constant(rate))
  return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("function_options", [{}, {"jit_compile": False}, {"jit_compile": True}])
def test_updates_by_hand_across_a_drop_of_the_rate(function_options):
  gradients = draw(12)
  weights, velocities = draw()[0], [np.zeros(shape) for shape in SHAPES]
  for step, rate in zip(gradients, RATES, strict=True):
    for index, gradient in enumerate(step):
      bias = weights[index].ndim == 1
      gradient = gradient + (0.0 if bias else 5e-2 * weights[index])
      velocities[index] = 0.9 * velocities[index] + rate * (2 if bias else 1) * gradient
      weights[index] = weights[index] - velocities[index]
  found = run(gradients, RATES, weight_decay.L2(5e-2), **function_options)
  for ours, expected in zip(found, weights, strict=True):
    assert np.linalg.norm(ours - expected) / np.linalg.norm(expected) < 1e-6


def test_updates_are_those_of_torch_while_the_rate_is_constant():
  torch = pytest.importorskip("torch")
  gradients = draw(10)
  parameters = [torch.nn.Parameter(torch.tensor(value)) for value in draw()[0]]
  groups = [
    {"params": [one], "lr": 0.1 if one.ndim > 1 else 0.2, "weight_decay": 5e-2 * (one.ndim > 1)}
    for one in parameters
  ]
  optimizer = torch.optim.SGD(groups, momentum=0.9)
  for step in gradients:
    for parameter, gradient in zip(parameters, step, strict=True):
      parameter.grad = torch.tensor(gradient)
    optimizer.step()
  found = run(gradients, [0.1] * 10, weight_decay.L2(5e-2))
  for ours, theirs in zip(found, parameters, strict=True):
    expected = theirs.detach().numpy()
    assert np.linalg.norm(ours - expected) / np.linalg.norm(expected) < 1e-6


def test_updates_inside_a_replica():
  strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
  gradients = draw(3)
  with strategy.scope():
    variables = [tf.Variable(value, dtype=tf.float32) for value in draw()[0]]
    optimizer = sgd.SGD()
    optimizer.build(variables)

  @tf.function
  def update(*gradients):
    strategy.run(lambda *given: optimizer.apply(given, tf.constant(0.1)), gradients)

  for step in gradients:
    update(*[tf.constant(one, tf.float32) for one in step])
  for ours, expected in zip(variables, run(gradients, [0.1] * 3), strict=True):
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
