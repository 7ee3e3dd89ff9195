"""A copy is what the state was, whatever is done to the state since."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from tests.training import parts
from vggtf.optimizers import schedules
from vggtf.training import restoring, snapshot


@pytest.fixture(scope="module")
def made():
  plateau = schedules.Plateau(initial=1e-3, patience=1)
  return parts.build(schedule=plateau, average=0.5, norm="batch", seed=3)


def whole(made):
  parts_ = {"model": made.net, "optimizer": made.optimizer, "schedule": made.schedule}
  return tf.train.Checkpoint(**parts_, step=made.done, averaging=made.averaging)


def written(state, folder):
  folder.mkdir()
  state.write(str(folder / "state"))
  return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_files_are_those_of_the_state_itself(made, tmp_path):
  state = whole(made)
  expected = written(state, tmp_path / "state")
  assert written(snapshot.take(state), tmp_path / "copy") == expected


def test_a_part_that_occurs_twice_and_odd_names_are_copied_too(tmp_path):
  shared = tf.Variable([1.0, 2.0])
  net = tf.Module()
  net.again, net.deep = shared, {"conv 1/a": shared, "b": [tf.Variable(3), shared]}
  net.parent = net
  state = tf.train.Checkpoint(model=net, same=net)
  expected = written(state, tmp_path / "state")
  assert written(snapshot.take(state), tmp_path / "copy") == expected


def train(made, compiled):
  """Updates all that a step updates, by its own kernels or in XLA's one pass."""

  @tf.function(jit_compile=compiled)
  def update():
    made.optimizer.apply([tf.ones(one.shape) for one in made.net.trainable_variables], 0.5)
    made.averaging.update(made.done)

  update()
  made.done.assign_add(1)


@pytest.mark.parametrize("compiled", [False, True])
def test_steps_after_it_and_values_assigned_leave_the_copy_alone(made, compiled):
  state = whole(made)
  before = {name: one.numpy() for name, one in restoring.named_variables(state).items()}
  copy = snapshot.take(state)
  train(made, compiled)
  made.schedule.observe(0.2 if compiled else 0.3)
  made.net.mean_rgb.assign_add([1.0, 2.0, 3.0])
  after = restoring.named_variables(state)
  changed = {name for name, value in before.items() if not np.array_equal(value, after[name])}
  assert changed >= {"step", "schedule/best", "model/mean_rgb", "optimizer/velocities/0"}
  assert changed >= {"averaging/averages/1", "model/layers/fc8/biases"}
  copied = restoring.named_variables(copy)
  assert copied.keys() == before.keys()
  for name, value in before.items():
    assert copied[name].numpy().tobytes() == value.tobytes(), name
