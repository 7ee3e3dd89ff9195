"""Checkpoints that are written while training goes on, and what a kill amid that costs: nothing."""

import functools
import hashlib
import os
import threading

import pytest
import tensorflow as tf

from tests.training import parts
from vggtf import contracts, errors, metrics
from vggtf.training import checkpoint, committed, hooks, loop, restoring, saving


def progress(step):
  return contracts.Progress(step, {}, 320, 2.0)


@pytest.fixture
def state():
  return tf.train.Checkpoint(value=tf.Variable(0.0))


def test_checkpoint_is_saved_with_the_error_of_its_own_step_only(state):
  saved = []
  means = iter([metrics.Mean(1.0, 2.0), metrics.Mean(0.0, 2.0)])
  measure = hooks.Evaluate(4, lambda: {"top1_error": next(means)}, lambda *_: None, None)
  with saving.SaveCheckpoint(
    2, 99, state, lambda _, step, error: saved.append((step, error)), measure
  ) as save:
    save(progress(step=2))  # nothing was measured yet
    measure(progress(step=4))
    save(progress(step=4))
    save(progress(step=6))  # the error of step 4 is not its own
    measure(progress(step=8))
    save(progress(step=8))
  assert saved == [(2, None), (4, 0.5), (6, None), (8, 0.0)]


def test_training_goes_on_while_one_is_written_and_the_next_waits(state):
  may_write, written = threading.Event(), []

  def write(copy, step, _):
    assert may_write.wait(60)
    written.append((step, float(copy.value), threading.current_thread().name))

  with saving.SaveCheckpoint(2, 6, state, write) as save:
    state.value.assign(2.0)
    save(progress(step=2))
    state.value.assign(3.0)  # nothing is written yet, and training is at step 3
    assert not written
    may_write.set()
    state.value.assign(4.0)
    save(progress(step=4))  # which waits for that of step 2
    assert written[0][:2] == (2, 2.0)
    state.value.assign(6.0)
    save(progress(step=6))  # the last is waited for
    assert [one[:2] for one in written] == [(2, 2.0), (4, 4.0), (6, 6.0)]
  (name,) = {name for _, _, name in written}
  assert name != threading.current_thread().name


def test_a_run_that_stops_waits_for_what_is_being_written(state):
  may_write, written = threading.Event(), []

  def write(_, step, __):
    assert may_write.wait(60)
    written.append(step)

  def train():
    with saving.SaveCheckpoint(2, 99, state, write) as save:
      save(progress(step=2))
      may_write.set()
      raise KeyError

  with pytest.raises(KeyError):
    train()
  assert written == [2]
  with saving.SaveCheckpoint(2, 99, state, write) as save:
    save.finish(3)
    assert written == [2, 3]


def test_a_disk_that_is_full_for_a_while_does_not_end_the_run(state, caplog):
  """K6: a checkpoint that cannot be written is warned of, and the next is tried."""
  failing, tried = {2, 4, 8, 10}, []

  def write(_, step, __):
    tried.append(step)
    if step in failing:
      raise errors.EnvironmentFault(f"no room for step {step}")

  with saving.SaveCheckpoint(2, 12, state, write) as save:
    for step in range(2, 14, 2):
      save(progress(step=step))
  assert tried == [2, 4, 6, 8, 10, 12]
  assert caplog.messages == [
    f"training goes on, and tries again in 2 steps: no room for step {step}"
    for step in sorted(failing)
  ]


def test_a_disk_that_stays_full_ends_the_run_the_third_time_and_at_its_end(state):
  """K6: after three failures, or where no try is left, the exit code is 5."""

  def write(_, step, __):
    tried.append(step)
    raise errors.EnvironmentFault("no room")

  def train(until, finish=None):
    tried.clear()
    with saving.SaveCheckpoint(2, until, state, write) as save:
      for step in range(2, 99, 2):
        save.finish(step) if step == finish else save(progress(step=step))

  tried = []
  for options, expected in (((99,), [2, 4, 6]), ((4,), [2, 4]), ((99, 4), [2, 4])):
    with pytest.raises(errors.EnvironmentFault, match="no room"):
      train(*options)
    assert tried == expected


def test_what_is_no_fault_of_the_machine_ends_the_run(state):
  def write(*_):
    raise ZeroDivisionError

  with pytest.raises(ZeroDivisionError), saving.SaveCheckpoint(2, 99, state, write) as save:
    save(progress(step=2))


class Killed(BaseException):
  """No code of ours tidies up after it, as after kill -9."""


def kill_before(monkeypatch, owner, name, at):
  """Has the call number `at` of a function kill the saving thread before it does anything."""
  function, calls = getattr(owner, name), []

  def call(*arguments, **options):
    calls.append(name)
    if len(calls) == at:
      raise Killed
    return function(*arguments, **options)

  monkeypatch.setattr(owner, name, call)


POINTS = {  # what comes next, and how often a save comes by there
  "the state is written": (tf.train.Checkpoint, "write", 1),
  "its sums are taken": (committed, "_sha256", 2),
  "its files are on the disk": (committed, "_sync", 4),
  "it takes its name": (os, "rename", 1),
  "old ones are dropped": (checkpoint.Checkpoints, "_drop_old", 1),
}
STEPS = 6


@pytest.fixture(scope="module")
def made():
  made = parts.build(average=0.5)
  made.state.averaging = made.averaging
  made.first = {name: one.numpy() for name, one in restoring.named_variables(made.state).items()}
  return made


def train(made, folder):
  """Trains as a new process would, which draws the same first weights; returns all final bits."""
  variables = restoring.named_variables(made.state)
  for name, variable in variables.items():
    variable.assign(made.first[name])
  checkpoints = checkpoint.Checkpoints(folder, keep=1)
  first = checkpoints.restore_newest(made.state) or 0
  batches = tf.data.Dataset.from_tensor_slices(parts.arrays(STEPS)).skip(first)
  with saving.SaveCheckpoint(2, STEPS, made.state, checkpoints.save) as save:
    take = functools.partial(made.take.block, iter(batches))
    assert loop.run(take, first, STEPS, [save], parts.BATCH, 4) == (STEPS, False)
  bits = b"".join(variables[name].numpy().tobytes() for name in sorted(variables))
  return hashlib.sha256(bits).hexdigest()


@pytest.fixture(scope="module")
def undisturbed(made, tmp_path_factory):
  return train(made, tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(
  ("point", "save"),
  [*((point, 2) for point in POINTS), ("it takes its name", 1), ("old ones are dropped", 3)],
)
def test_a_kill_inside_a_save_changes_no_bit(made, undisturbed, tmp_path, monkeypatch, point, save):
  """P1: killed before what the name says, in the first, the second or the last save."""
  owner, name, calls = POINTS[point]
  with monkeypatch.context() as patch:
    kill_before(patch, owner, name, (save - 1) * calls + 1)
    with pytest.raises(Killed):
      train(made, tmp_path)
  left = sorted(path.name for path in tmp_path.iterdir())
  found = save if point == "old ones are dropped" else save - 1
  assert [one for one in left if one.startswith("step-")][-1:] == (
    [f"step-{2 * found:08d}"] if found else []
  )
  assert train(made, tmp_path) == undisturbed
  left = sorted(path.name for path in tmp_path.iterdir())
  assert left[-1] == "step-00000006"
  assert not [one for one in left if one.startswith(".writing")]


def test_a_run_that_may_not_wait_for_room_ends_with_the_first_save_that_fails(state):
  def write(*_):
    raise errors.EnvironmentFault("no room")

  save = saving.SaveCheckpoint(2, 99, state, write, attempts=1)
  save(progress(step=2))
  with pytest.raises(errors.EnvironmentFault, match="no room"):
    save(progress(step=4))
