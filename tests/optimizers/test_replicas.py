"""Every optimizer on two replicas against one device: two CPUs of a process, and two processes."""

import functools
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers import updates
from vggtf.optimizers import adamw, addons, clip, groups, lars, sgd
from vggtf.training import averaging

ROOT = pathlib.Path(__file__).parents[2]
RATE = 0.01
MOMENTUM = {"momentum": 0.9}
OPTIMIZERS = {
  "nesterov": functools.partial(sgd.SGD, nesterov=True),
  "lars": functools.partial(lars.LARS, sgd.SGD),
  "adamw": adamw.AdamW,
  "clip and groups": functools.partial(
    clip.ByGlobalNorm,
    functools.partial(groups.ByName, sgd.SGD, {"conv1_1/biases": 0.0, "fc8": 10.0}),
    norm=1.0,
  ),
  "SGDW": functools.partial(addons.Optimizer, "SGDW", MOMENTUM, weight_decay_per_rate=0.1),
  "LAMB": functools.partial(addons.Optimizer, "LAMB", {"weight_decay": 0.01}),
  "Lookahead(SGD)": functools.partial(
    addons.Optimizer, "SGD", MOMENTUM, (("Lookahead", {"sync_period": 2}),)
  ),
  "MovingAverage(SGD)": functools.partial(
    addons.Optimizer, "SGD", MOMENTUM, (("MovingAverage", {"average_decay": 0.9}),)
  ),
}


def train(strategy) -> dict[str, list]:
  """Returns what each optimizer makes of three variables, and their averages, in eight steps.

  As in vggtf/training/step.py: a loop around `strategy.run`, in which half of each gradient, that
  of this replica, is summed with the others'.
  """
  found = {}
  share = 1 / strategy.num_replicas_in_sync
  steps = [tf.constant(np.stack(one), tf.float32) for one in zip(*updates.draw(8), strict=True)]
  for name, constructor in OPTIMIZERS.items():
    with strategy.scope():
      variables = updates.variables()
      optimizer, average = constructor(), averaging.ExponentialMovingAverage(0.5)
      optimizer.build(variables)
      average.build(variables)

    def replica_step(gradients, step, optimizer=optimizer, average=average):
      context = tf.distribute.get_replica_context()
      parts = [share * one for one in gradients]
      optimizer.apply(context.all_reduce(tf.distribute.ReduceOp.SUM, parts), tf.constant(RATE))
      average.update(step)

    @tf.function
    def take(replica_step=replica_step):
      for step in tf.range(8, dtype=tf.int64):
        strategy.run(replica_step, ([one[step] for one in steps], step))

    take()
    replicas = [
      [one.numpy().tolist() for one in strategy.experimental_local_results(variable)]
      for variable in (*variables, *average.averages)
    ]
    assert all(one == replica[0] for replica in replicas for one in replica), name
    found[name] = [replica[0] for replica in replicas]
  return found


def in_two_replicas() -> None:
  """Prints what `train` returns on two logical CPUs."""
  cpu = tf.config.list_physical_devices("CPU")[0]
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
  strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
  assert strategy.num_replicas_in_sync == 2
  print(json.dumps(train(strategy)))


def in_a_worker() -> None:
  """Prints what `train` returns in a process of the cluster that TF_CONFIG describes."""
  strategy = tf.distribute.MultiWorkerMirroredStrategy()
  assert strategy.num_replicas_in_sync == 2
  print(json.dumps(train(strategy)))


def start(function: str, **environment: str) -> subprocess.Popen:
  """Starts a process that runs a function of this module."""
  return subprocess.Popen(
    [sys.executable, "-c", f"from tests.optimizers import test_replicas as t\nt.{function}()"],
    cwd=ROOT,
    env={**os.environ, "TF_USE_LEGACY_KERAS": "1", **environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process: subprocess.Popen) -> dict[str, list]:
  """Returns what it printed last."""
  try:
    output, error = process.communicate(timeout=300)
  finally:
    process.kill()
  assert process.returncode == 0, error[-3000:]
  return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def alone():
  return train(tf.distribute.OneDeviceStrategy("/device:CPU:0"))


@pytest.fixture(scope="module")
def mirrored():
  return finish(start("in_two_replicas"))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_replicas_take_the_steps_of_one_device(name, alone, mirrored):
  assert_same_steps(alone[name], mirrored[name])


@pytest.mark.slow
def test_two_workers_take_the_steps_of_one_device(alone):
  with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as two:
    workers = [f"localhost:{server.getsockname()[1]}" for server in (one, two)]
  processes = [
    start(
      "in_a_worker",
      TF_CONFIG=json.dumps(
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
      ),
    )
    for index in range(2)
  ]
  for found in [finish(process) for process in processes]:
    for name in OPTIMIZERS:
      assert_same_steps(alone[name], found[name])


def assert_same_steps(one: list, two: list) -> None:
  assert len(one) == len(two) == 2 * len(updates.NAMES)
  for value, found in zip(one, two, strict=True):
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
