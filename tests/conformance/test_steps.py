"""The step of every configuration's net, compiled by XLA and not: the same losses and updates."""

import gin
import numpy as np
import pytest
import tensorflow as tf

from tests.conformance import configurations
from vggtf import config, contracts
from vggtf.losses import weight_decay
from vggtf.optimizers import schedules
from vggtf.training import step

BATCH, CLASSES, STEPS = 4, 10, 2
WIDTH = 1 / 16
SIDES = {"alexnet": 67, "zfnet": 64, "googlenet": 96}  # with less nothing would be left; else 32


def bound(model, loss, optimizer):
  return model, loss, optimizer


def constructors(name):
  """Returns those of a configuration's net, loss and optimizer."""
  configurations.parse(name)
  with gin.unlock_config():
    gin.parse_config(
      "from __gin__ import dynamic_registration\n"
      "from tests.conformance import test_steps\n"
      "test_steps.bound.model = %MODEL\n"
      "test_steps.bound.loss = %LOSS\n"
      "test_steps.bound.optimizer = %OPTIMIZER\n"
    )
  return config.configured(bound)()


def train(name, jit_compile):
  """Returns the losses of some steps, and how they moved the weights and norms' statistics."""
  model, loss, optimizer = constructors(name)
  side = SIDES.get(name, 32)
  net = model(
    classes=CLASSES,
    mean_rgb=configurations.MEAN_RGB,
    input_size=side,
    width=WIDTH,
    compute_dtype="float32",
  )
  update = optimizer()
  update.build(net.trainable_variables)
  take = step.TrainStep(
    tf.distribute.OneDeviceStrategy("/cpu:0"),
    net,
    loss(),
    weight_decay.L2(),
    update,
    schedules.Constant(1e-4),
    tf.Variable(0, dtype=tf.int64, trainable=False),
    BATCH,
    seed=1,
    jit_compile=jit_compile,
  )
  random = np.random.RandomState(0)
  batch = contracts.Batch(
    random.randint(0, 256, (BATCH, side, side, 3)).astype(np.uint8),
    random.randint(0, CLASSES, BATCH).astype(np.int32),
    np.ones(BATCH, np.float32),
    np.full(BATCH, b"id"),
  )
  batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
  weights = net.trainable_variables
  statistics = [one for one in net.variables if not one.trainable]
  drawn = [np.concatenate([np.ravel(one) for one in group]) for group in (weights, statistics)]
  losses = [take(batches, 1)["loss"] for _ in range(STEPS)]
  found = [np.concatenate([np.ravel(one) for one in group]) for group in (weights, statistics)]
  return losses, *(now - before for now, before in zip(found, drawn, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", configurations.NETS)
def test_xla_takes_the_same_steps(name):
  losses, *moved = train(name, jit_compile=False)
  compiled_losses, *compiled = train(name, jit_compile=True)
  distances = [
    np.linalg.norm(ours - plain) / max(np.linalg.norm(plain), 1e-9)
    for ours, plain in zip(compiled, moved, strict=True)
  ]
  print(f"{name}: losses {losses}, updates {distances[0]:.1e} and {distances[1]:.1e} apart")
  assert np.any(moved[0])
  assert compiled_losses == pytest.approx(losses, rel=1e-5)
  assert max(distances) < 1e-4
