import collections
import contextlib
import functools
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.training import parts
from vggtf import errors
from vggtf.optimizers import schedules
from vggtf.training import compilation, reduction, strategy

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 20


def test_one_device_is_the_first_gpu_or_the_cpu():
  expected = "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
  for chosen in (strategy.one_device(), strategy.one_device("CPU:0")):
    assert chosen.num_replicas_in_sync == 1
  with strategy.one_device().scope():
    assert expected in tf.Variable(0.0).device


def test_a_device_that_is_not_there_is_no_reason_to_take_another():
  with pytest.raises(errors.EnvironmentFault, match=r"'GPU:99' is not on this machine.*CPU:0"):
    strategy.one_device("GPU:99")


@pytest.mark.parametrize("devices", [99, ("CPU:0", "GPU:98")])
def test_mirrored_names_the_devices_that_are_not_there(devices):
  with pytest.raises(errors.EnvironmentFault, match=r"wants .*GPU:98, which .* has CPU:0"):
    strategy.mirrored(devices)


def test_mirrored_takes_every_gpu_and_never_the_cpu_unasked():
  gpus = len(tf.config.list_logical_devices("GPU"))
  if gpus:
    assert strategy.mirrored().num_replicas_in_sync == gpus
  else:
    with pytest.raises(errors.EnvironmentFault, match=r"wants GPU:0, which this machine has not"):
      strategy.mirrored()
  assert strategy.mirrored(("CPU:0",)).num_replicas_in_sync == 1


@pytest.mark.parametrize("devices", [0, (), ("CPU:0", "CPU:0")])
def test_mirrored_wants_different_devices(devices):
  with pytest.raises(errors.UsageError, match="expected different devices"):
    strategy.mirrored(devices)


def test_no_tpu_is_no_reason_to_take_the_cpu():
  if tf.config.list_physical_devices("TPU"):
    pytest.skip("a TPU is there")
  with pytest.raises(errors.EnvironmentFault, match=r"tpu.name = '': no TPU is there"):
    strategy.tpu("")


def test_workers_need_a_cluster_that_can_be(monkeypatch):
  monkeypatch.delenv("TF_CONFIG", raising=False)
  with pytest.raises(errors.UsageError, match="multi_worker needs TF_CONFIG, which is not set"):
    strategy.multi_worker()
  monkeypatch.setenv("TF_CONFIG", "{")
  with pytest.raises(errors.UsageError, match="TF_CONFIG: is not JSON"):
    strategy.multi_worker()
  monkeypatch.setenv("TF_CONFIG", cluster("no-such-host.invalid:1"))
  with pytest.raises(errors.UsageError, match="worker 0's host is unknown"):
    strategy.multi_worker()


class Made:
  """In place of a strategy, which would wait for all workers: keeps what it was made with."""

  def __init__(self, communication_options):
    self.communication_options = communication_options


def test_workers_never_wait_without_end(monkeypatch):
  with socket.create_server(("localhost", 0)) as server:
    monkeypatch.setenv("TF_CONFIG", cluster(f"127.0.0.1:{server.getsockname()[1]}"))
    with pytest.raises(errors.EnvironmentFault, match="cannot be listened on: Address already in"):
      strategy.multi_worker()  # M10
  monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", Made)
  assert strategy.multi_worker().communication_options.timeout_seconds == 600
  assert strategy.multi_worker(5.0).communication_options.timeout_seconds == 5
  with pytest.raises(errors.UsageError, match=r"timeout = 0: expected seconds"):
    strategy.multi_worker(0)
  with pytest.raises(errors.UsageError, match=r"silence = -1: expected seconds"):
    strategy.multi_worker(silence=-1)


def fail_together(error):
  with strategy.together(strategy.one_device("CPU:0")) as alone:
    assert alone.exchange(1) == [1]
    raise error


@pytest.mark.parametrize("kind", [tf.errors.UnavailableError, tf.errors.DeadlineExceededError])
def test_a_lost_process_is_a_fault_of_a_peer(kind):
  with pytest.raises(errors.PeerError, match=r"another process does not answer; .* start all of"):
    fail_together(kind(None, None, "Socket closed"))
  with pytest.raises(tf.errors.InvalidArgumentError):
    fail_together(tf.errors.InvalidArgumentError(None, None, "shapes"))


def cluster(worker):
  return json.dumps({"cluster": {"worker": [worker]}, "task": {"type": "worker", "index": 0}})


@pytest.mark.parametrize("chosen", ["one_device", "mirrored"])
def test_one_replica_gets_the_batches_as_they_are(chosen):
  chosen = {
    "one_device": strategy.one_device,
    "mirrored": lambda: tf.distribute.MirroredStrategy(["/cpu:0"]),
  }[chosen]()
  found = strategy.distribute(chosen, lambda: tf.data.Dataset.range(6).batch(3), 3)
  assert [batch.numpy().tolist() for batch in found] == [[0, 1, 2], [3, 4, 5]]


def cut_arrays(worker=0, workers=1):
  """Returns the batches, or a worker's parts of them."""
  size = parts.BATCH // workers
  own = tf.nest.map_structure(
    lambda one: one[:, worker * size : (worker + 1) * size], parts.arrays(4)
  )
  return tf.data.Dataset.from_tensor_slices(own).repeat()


def train(chosen, slices=1):
  """Returns the scalars of 20 steps with dropout, and every variable of each replica."""
  still = schedules.Constant(3e-5)
  ours = parts.build(chosen, "auto", dropout=0.5, schedule=still, slices=slices)
  iterator = strategy.distribute(chosen, cut_arrays, parts.BATCH)
  scalars = ours.take(iterator, STEPS)
  variables = (*ours.net.variables, *ours.optimizer.variables)
  replicas = [[one.numpy() for one in chosen.experimental_local_results(v)] for v in variables]
  return scalars, replicas


def told(chosen, expected, slices=1) -> dict:
  """Returns the strategy's scalars, a hash, and how far the variables are from `expected`."""
  scalars, replicas = train(chosen, slices)
  distances, digest = [], hashlib.sha256()
  for found, (value,) in zip(replicas, expected, strict=True):
    assert all(np.array_equal(one, found[0]) for one in found)
    distances.append(float(np.linalg.norm(found[0] - value) / np.linalg.norm(value)))
    digest.update(found[0].tobytes())
  return {
    "replicas": chosen.num_replicas_in_sync,
    "scalars": scalars,
    "distance": max(distances),
    "sha256": digest.hexdigest(),
  }


def on_logical_cpus(count: int, slices: int = 1, large: int = compilation.LARGE) -> None:
  """Prints what so many of them make: one number a process, for TensorFlow's groups outlive it."""
  compilation.LARGE = large
  cpu = tf.config.list_physical_devices("CPU")[0]
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
  alone, expected = train(strategy.one_device("CPU:0"))
  names = tuple(f"CPU:{index}" for index in range(count))
  print(json.dumps([alone, told(strategy.mirrored(names), expected, slices)]))


def in_a_worker(pack: int = reduction.BYTES_PER_PACK, large: int = compilation.LARGE) -> None:
  """Prints what a process of TF_CONFIG's cluster makes, with packs of so many bytes."""
  reduction.BYTES_PER_PACK, compilation.LARGE = pack, large
  chosen = strategy.multi_worker(60.0)
  alone, expected = train(tf.distribute.OneDeviceStrategy(chosen.extended.worker_devices[0]))
  print(json.dumps([alone, told(chosen, expected)]))


def start(call: str, **environment: str) -> subprocess.Popen:
  """Starts a process that calls a function of this module."""
  return subprocess.Popen(
    [sys.executable, "-c", f"from tests.training import test_strategy as t\nt.{call}"],
    cwd=ROOT,
    env={**os.environ, **environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process: subprocess.Popen) -> tuple[dict, dict]:
  """Returns what it printed last."""
  try:
    output, error = process.communicate(timeout=300)
  finally:
    process.kill()
  assert process.returncode == 0, error[-3000:]
  return tuple(json.loads(output.splitlines()[-1]))


def assert_same_steps(alone: dict, found: dict) -> None:
  """A sum of two or four parts is rounded otherwise than one of the whole batch."""
  assert found["scalars"] == pytest.approx(alone, rel=1e-5)
  assert found["distance"] < 1e-5, found["replicas"]


@functools.cache
def mirrored(count: int, slices: int = 1, large: int = compilation.LARGE) -> tuple[dict, dict]:
  return finish(start(f"on_logical_cpus({count}, {slices}, {large})"))


@pytest.mark.parametrize(
  "count", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)]
)
def test_replicas_take_the_steps_of_one_device(count):
  alone, found = mirrored(count)
  assert found["replicas"] == count
  assert_same_steps(alone, found)
  assert count > 1 or found["distance"] == 0


@pytest.mark.slow
def test_replicas_may_take_their_parts_in_slices():
  alone, found = mirrored(2, slices=4)
  assert_same_steps(alone, found)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_replicas_take_the_same_steps_in_every_run_bit_for_bit(count):
  assert mirrored(count) == finish(start(f"on_logical_cpus({count})"))


@pytest.mark.slow
def test_two_workers_take_the_steps_of_one_device():
  assert two_workers() == two_workers() == two_workers(pack=1 << 12)  # bit for bit


@pytest.mark.slow
def test_replicas_and_workers_update_large_nets_as_one_device_does():
  for take in (functools.partial(mirrored, 2), two_workers):
    alone, found = take(large=1)
    assert_same_steps(alone, found)
    assert found["sha256"] != take()[1]["sha256"]  # compiled, so rounded otherwise


def run_workers(*calls: str) -> list[tuple]:
  """Returns what the processes of a cluster, each calling a function of this module, print."""
  with contextlib.ExitStack() as stack:
    servers = [stack.enter_context(socket.create_server(("localhost", 0))) for _ in calls]
    workers = [f"localhost:{server.getsockname()[1]}" for server in servers]
  processes = [
    start(
      call,
      TF_CONFIG=json.dumps(
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
      ),
    )
    for index, call in enumerate(calls)
  ]
  return [finish(process) for process in processes]


def two_workers(
  pack: int = reduction.BYTES_PER_PACK, large: int = compilation.LARGE
) -> tuple[dict, dict]:
  one, two = run_workers(*[f"in_a_worker({pack}, {large})"] * 2)
  assert one == two
  alone, found = one
  assert found["replicas"] == 2
  assert_same_steps(alone, found)
  return one


def test_the_step_goes_into_a_tpu_program_without_a_host_op():
  from tensorflow.python.client import session
  from tensorflow.python.tpu import tpu_system_metadata

  class Resolver(tf.distribute.cluster_resolver.TPUClusterResolver):
    """Of four cores that are not there; TensorFlow traces for them all the same, in a graph."""

    def __init__(self):
      self._tpu = "none"

    def get_tpu_system_metadata(self):
      place = "/job:localhost/replica:0/task:0/device:TPU:"
      cores = [
        session._DeviceAttributes(f"{place}{index}", "TPU", 1 << 34, 0) for index in range(4)
      ]
      return tpu_system_metadata.TPUSystemMetadata(4, 1, 4, None, cores)

  with tf.Graph().as_default() as graph:
    tpu = tf.distribute.TPUStrategy(Resolver())
    ours = parts.build(tpu, jit_compile=True, norm="batch", dropout=0.5)
    batch = parts.arrays(1)
    part = [tf.constant(one[0, :2]) for one in batch[:3]]
    spread = [
      tpu.experimental_distribute_values_from_function(lambda _, one=one: one) for one in part
    ]
    ours.take.take_one(iter([type(batch)(*spread, id=())]))
  nodes = list(graph.as_graph_def().node)
  for function in graph.as_graph_def().library.function:
    nodes += function.node_def
  found = collections.Counter(node.op for node in nodes)
  assert found["TPUReplicateMetadata"] == 1
  variables, statistics, sums = len(ours.net.trainable_variables), 2 * len(ours.net.norms), 4
  assert found["CrossReplicaSum"] == variables + statistics + sums
  on_the_host = ("PyFunc", "String", "feed")
  assert not [op for op in found if any(word in op for word in on_the_host)]
