"""A small net with all that a step of its training needs."""

import json
import pathlib
import subprocess
import sys
import types

import numpy as np
import tensorflow as tf

from vggtf import contracts
from vggtf.losses import softmax, weight_decay
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.optimizers import schedules, sgd
from vggtf.training import averaging, step

MEAN_RGB = (120.0, 125.0, 130.0)
CLASSES = 7
SIDE = 32
BATCH = 8
DECAY = 0.05
RATES = (1e-3, 1e-3, 2e-4, 2e-4)  # by step, those of `build`'s schedule


def net(seed: int = 0, **options) -> vgg.VGG:
  options = {
    "config": "A",
    "width": 1 / 16,
    "dropout": 0.0,
    "initializer": initializers.He(),
    **options,
  }
  return vgg.VGG(CLASSES, MEAN_RGB, input_size=SIDE, seed=seed, **options)


def build(
  strategy=None,
  jit_compile=False,
  schedule=None,
  seed=0,
  optimizer=sgd.SGD,
  decay=None,
  loss=None,
  average=None,
  slices=1,
  all_reduce_dtype="float32",
  loss_scale=None,
  model=net,
  **options,
):
  """Returns the net, its optimizer, schedule, step count, all of them as a state, and the step.

  With `average`, a decay, the averages of the net's weights too.
  """
  strategy = strategy or tf.distribute.OneDeviceStrategy("/device:CPU:0")
  with strategy.scope():
    model, optimizer = model(seed, **options), optimizer()
    schedule = schedule or schedules.Steps(boundaries=(2,), initial=1e-3, factor=0.2)
    optimizer.build(model.trainable_variables)
    averages = averaging.ExponentialMovingAverage(average) if average is not None else None
    if averages:
      averages.build(model.variables)
    done = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
  take = step.TrainStep(
    strategy,
    model,
    loss or softmax.Softmax(),
    decay or weight_decay.L2(DECAY),
    optimizer,
    schedule,
    done,
    BATCH,
    5,
    averages,
    jit_compile,
    slices,
    all_reduce_dtype,
    loss_scale,
  )
  state = tf.train.Checkpoint(model=model, optimizer=optimizer, schedule=schedule, step=done)
  return types.SimpleNamespace(
    net=model,
    optimizer=optimizer,
    schedule=schedule,
    done=done,
    state=state,
    take=take,
    averaging=averages,
  )


def arrays(steps: int) -> contracts.Batch:
  """Returns batches as arrays [steps, BATCH, ...]; each ends with images of weight 0."""
  random = np.random.RandomState(3)
  weights = np.ones((steps, BATCH), np.float32)
  for index in range(steps):
    weights[index, BATCH - index :] = 0  # none in the first, one in the second, ...
  return contracts.Batch(
    random.randint(0, 256, (steps, BATCH, SIDE, SIDE, 3)).astype(np.uint8),
    random.randint(0, CLASSES, (steps, BATCH)).astype(np.int32),
    weights,
    np.full((steps, BATCH), b"id"),
  )


def batches(steps: int, strategy=None):
  """Returns the iterator that a step takes, of `arrays`."""
  dataset = tf.data.Dataset.from_tensor_slices(arrays(steps))
  strategy = strategy or tf.distribute.OneDeviceStrategy("/device:CPU:0")
  return iter(strategy.experimental_distribute_dataset(dataset))


def values(parts) -> dict[str, np.ndarray]:
  """Returns every variable of the net and the optimizer, by name."""
  return {
    f"{owner.name}/{variable.name}": variable.numpy()
    for owner in (parts.net, parts.optimizer)
    for variable in owner.variables
  }


def split_cpu(count: int) -> None:
  """Makes so many devices of the processor; before TensorFlow's first operation."""
  cpu = tf.config.list_physical_devices("CPU")[0]
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


def in_a_process(module: str, function: str) -> dict:
  """Returns what a module's function returns as JSON, called in a process of its own."""
  call = f"import json, {module} as one\nprint(json.dumps(one.{function}()))"
  found = subprocess.run(
    [sys.executable, "-c", call],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    timeout=290,
  )
  assert found.returncode == 0, found.stderr[-3000:]
  return json.loads(found.stdout.splitlines()[-1])
