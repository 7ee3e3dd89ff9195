"""Sums over replicas: how they travel, and what fewer bits cost."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from tests.training import parts
from vggtf.optimizers import schedules
from vggtf.training import reduction

STEPS = 4


def test_one_replica_rounds_nothing():
  given = [tf.constant([1 / 3]), {"sum": tf.constant(1e-30)}]
  strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
  found = strategy.run(lambda: reduction.sum_over_replicas(given, tf.bfloat16))
  assert found[0].numpy() == np.float32(1 / 3)
  assert found[1]["sum"].numpy() == np.float32(1e-30)


def test_a_large_gradient_is_cut_into_packs(monkeypatch):
  monkeypatch.setattr(reduction, "BYTES_PER_PACK", 16)
  given = tf.reshape(tf.range(21, dtype=tf.float32), [7, 3])
  parts = [one.numpy().tolist() for one in reduction.cut(given)]
  assert [len(one) for one in parts] == [4, 4, 4, 4, 4, 1]
  assert [value for part in parts for value in part] == list(range(21))
  assert [len(one) for one in reduction.cut(tf.zeros([2, 8], tf.bfloat16))] == [8, 8]
  assert [one.numpy().tolist() for one in reduction.cut(tf.constant(2.0))] == [[2.0]]


def train(strategy, **options):
  """Returns what moved in some steps, for each replica; and the messages of a step, by type."""
  ours = parts.build(strategy, schedule=schedules.Constant(3e-5), norm="batch", **options)
  dataset = tf.data.Dataset.from_tensor_slices(parts.arrays(STEPS)).map(lambda b: b._replace(id=()))
  iterator = iter(strategy.experimental_distribute_dataset(dataset))
  variables = [*ours.net.variables, *ours.optimizer.variables]
  drawn = [one.numpy() for one in variables]
  operations = (
    tf.function(ours.take.take_one).get_concrete_function(iterator).graph.get_operations()
  )
  messages = [one.inputs[0].dtype.name for one in operations if one.type == "CollectiveReduceV2"]
  ours.take(iterator, STEPS)
  local = [strategy.experimental_local_results(one) for one in variables]
  moved = [
    np.concatenate([np.ravel(one - first) for one, first in zip(replica, drawn, strict=True)])
    for replica in zip(*local, strict=True)
  ]
  return moved, collections.Counter(messages)


def on_two_cpus() -> dict:
  parts.split_cpu(2)
  both = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
  (exact,), _ = train(tf.distribute.OneDeviceStrategy("/cpu:0"), slices=2)
  found = {}
  for dtype in ("float32", "bfloat16", "float16"):
    (one, other), messages = train(both, all_reduce_dtype=dtype)
    assert np.array_equal(one, other)
    distance = float(np.linalg.norm(one - exact) / np.linalg.norm(exact))
    found[dtype] = {"distance": distance, "messages": messages}
  reduction.BYTES_PER_PACK = 64 << 10
  found["small packs"] = train(both)[1]
  return found


@pytest.mark.slow
def test_gradients_travel_together_in_the_type_that_is_asked_for():
  """Against one device whose norms see the same halves of a batch."""
  found = parts.in_a_process(__name__, "on_two_cpus")
  print(found)
  # For each replica one message for all gradients, one for statistics and sums.
  assert found["float32"]["messages"] == {"float32": 4}
  assert found["bfloat16"]["messages"] == {"bfloat16": 2, "float32": 2}
  assert found["float16"]["messages"] == {"float16": 2, "float32": 2}
  assert 4 < found["small packs"]["float32"] < 40
  assert found["float32"]["distance"] < 1e-3
  assert found["float32"]["distance"] < found["bfloat16"]["distance"] < 0.1
  assert found["float16"]["distance"] < 0.1
