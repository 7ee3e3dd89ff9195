"""What is saved comes back bit for bit, and what is damaged is never taken for sound."""

import errno
import hashlib
import json
import logging
import os
import resource
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.training import parts
from vggtf import errors
from vggtf.optimizers import schedules
from vggtf.training import checkpoint, restoring


class Small(tf.train.Checkpoint):
  """A state of one number."""

  def __init__(self, value=0.0):
    super().__init__(value=tf.Variable(float(value)))


@pytest.fixture
def three(tmp_path):
  """Returns a folder with checkpoints of steps 1, 2 and 3, whose values are their steps."""
  checkpoints = checkpoint.Checkpoints(tmp_path)
  for step in (1, 2, 3):
    checkpoints.save(Small(step), step, error=step / 10)
  return tmp_path


def newest(folder):
  """Returns the step and value that are restored."""
  state = Small(-1)
  return checkpoint.Checkpoints(folder).restore_newest(state), float(state.value.numpy())


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def flip_bit(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 4
  path.write_bytes(content)


def recommit(at, files):
  """Lists files with their true sums, whatever they are."""
  sha256 = {name: hashlib.sha256((at / name).read_bytes()).hexdigest() for name in files}
  (at / COMMIT).write_text(json.dumps({"step": 3, "error": 0.3, "sha256": sha256}))


DATA, INDEX, COMMIT = "state.data-00000-of-00001", "state.index", "COMMIT.json"
DAMAGES = {
  "a bit of the data": lambda at: flip_bit(at / DATA),
  "a bit of the index": lambda at: flip_bit(at / INDEX),
  "data cut short": lambda at: os.truncate(at / DATA, 3),
  "data empty": lambda at: os.truncate(at / DATA, 0),
  "data missing": lambda at: (at / DATA).unlink(),
  "index cut short": lambda at: os.truncate(at / INDEX, 50),
  "index empty": lambda at: os.truncate(at / INDEX, 0),
  "index missing": lambda at: (at / INDEX).unlink(),
  "commit missing": lambda at: (at / COMMIT).unlink(),
  "commit empty": lambda at: os.truncate(at / COMMIT, 0),
  "commit cut short": lambda at: os.truncate(at / COMMIT, 40),
  "commit not UTF-8": lambda at: (at / COMMIT).write_bytes(b"\xff\xfe{"),
  "commit a list": lambda at: (at / COMMIT).write_text("[]"),
  "commit null": lambda at: (at / COMMIT).write_text("null"),
  "commit without files": lambda at: (at / COMMIT).write_text('{"sha256": {}}'),
  "commit without sums": lambda at: (at / COMMIT).write_text("{}"),
  "commit of the index alone": lambda at: recommit(at, [INDEX]),
  "commit of the data alone": lambda at: recommit(at, [DATA]),
  "commit of files elsewhere": lambda at: recommit(
    at, [f"../step-00000002/{name}" for name in (DATA, INDEX)]
  ),
  "commit of absolute names": lambda at: recommit(at, [str(at / DATA), str(at / INDEX)]),
  "a link to nowhere": lambda at: (shutil.rmtree(at), at.symlink_to(at.parent / "nowhere")),
  "folder empty": lambda at: [path.unlink() for path in at.iterdir()],
}


def test_everything_comes_back_bit_for_bit(tmp_path):
  def build(seed):
    plateau = schedules.Plateau(initial=1e-3, drops=2, patience=1)
    return parts.build(schedule=plateau, seed=seed, norm="batch")

  saved, restored = build(seed=0), build(seed=1)
  random = np.random.RandomState(0)
  for variable in (*saved.net.variables, *saved.optimizer.variables):
    variable.assign(random.standard_normal(variable.shape))
  for error in (0.5, 0.7):
    saved.schedule.observe(error)
  saved.done.assign(1 << 40)
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(saved.state, 2, 0.7)
  assert checkpoints.restore_newest(restored.state) == 2
  expected = parts.values(saved)
  assert sum(name.startswith("sgd/") for name in expected) == len(saved.net.trainable_variables)
  for name, value in parts.values(restored).items():
    assert value.tobytes() == expected[name].tobytes(), name
  assert restored.done.numpy() == 1 << 40
  assert restored.schedule.best.numpy() == np.float32(0.5)
  assert (restored.schedule.bad.numpy(), restored.schedule.dropped.numpy()) == (0, 1)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_is_set_aside_and_the_one_before_is_used(three, damage, caplog):
  """K1."""
  DAMAGES[damage](three / "step-00000003")
  with caplog.at_level(logging.WARNING, "vggtf"):
    assert newest(three) == (2, 2.0)
  assert "checkpoint of step 3 is damaged" in caplog.text
  assert names(three) == ["corrupt", "step-00000001", "step-00000002"]
  (aside,) = (three / "corrupt").iterdir()
  assert aside.name.startswith("step-00000003-")
  assert str(aside) in caplog.text
  checkpoint.Checkpoints(three).save(Small(33), 3)  # its place is free
  assert newest(three) == (3, 33.0)
  DAMAGES[damage](three / "step-00000003")  # and may be damaged once more
  assert newest(three) == (2, 2.0)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_is_passed_over_by_the_other_jobs(three, damage):
  DAMAGES[damage](three / "step-00000003")
  before = names(three)
  assert checkpoint.Checkpoints(three).find("latest") == 2
  assert names(three) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_whose_checkpoints_are_all_damaged_never_begins_at_step_0(three, damage):
  """K1, P5."""
  for step in (1, 3, 2):  # 2 is what the damage of files elsewhere takes its sums from
    DAMAGES[damage](three / f"step-{step:08d}")
  for _ in range(2):  # a supervisor starts it again and again
    with pytest.raises(errors.IntegrityError, match=r"every checkpoint in .* is damaged; restore"):
      newest(three)
  assert names(three) == ["step-00000001", "step-00000002", "step-00000003"]
  with pytest.raises(errors.IntegrityError, match="every checkpoint"):
    checkpoint.Checkpoints(three).find("latest")


def test_what_is_damaged_has_no_error_to_be_the_best_by(three):
  for path in three.iterdir():
    (path / COMMIT).unlink()
  with pytest.raises(errors.UsageError, match=r"no checkpoint in .* was evaluated"):
    checkpoint.Checkpoints(three).find("best")


def test_a_digest_is_of_names_types_shapes_and_bits_alone(tmp_path):
  """P11."""

  def digest(folder, **variables):
    checkpoints = checkpoint.Checkpoints(tmp_path / folder)
    checkpoints.save(tf.train.Checkpoint(**variables), 1)
    return restoring.digest(checkpoints.prefix(1))

  value = tf.Variable([[1.0, -0.0]], name="any")
  expected = hashlib.sha256(
    b"a/.ATTRIBUTES/VARIABLE_VALUE float32 (1, 2)\0"
    + np.array([1, -0.0], np.float32).tobytes()
    + b"b/.ATTRIBUTES/VARIABLE_VALUE int64 ()\0"
    + np.array(3, np.int64).tobytes()
  ).hexdigest()
  assert digest("first", b=tf.Variable(3, dtype=tf.int64), a=value) == expected
  others = {
    "name": {"c": tf.Variable(3, dtype=tf.int64), "a": value},
    "type": {"b": tf.Variable(3, dtype=tf.int32), "a": value},
    "shape": {"b": tf.Variable(3, dtype=tf.int64), "a": tf.Variable([1.0, -0.0])},
    "bit": {"b": tf.Variable(3, dtype=tf.int64), "a": tf.Variable([[1.0, 0.0]])},
  }
  assert all(digest(name, **variables) != expected for name, variables in others.items())


def test_nothing_saved_means_step_0(tmp_path):
  assert newest(tmp_path) == (None, -1.0)
  assert newest(tmp_path / "not made") == (None, -1.0)
  with pytest.raises(errors.UsageError, match="holds no checkpoint; train first"):
    checkpoint.Checkpoints(tmp_path).find("latest")


def test_an_older_one_can_be_restored_and_those_after_it_are_out_of_the_way(three, caplog):
  """M5: workers go on from the newest step that all of them have."""
  checkpoint.Checkpoints(three, keep=9).save(Small(4), 4)
  flip_bit(three / "step-00000002" / DATA)
  flip_bit(three / "step-00000004" / DATA)
  checkpoints, state = checkpoint.Checkpoints(three), Small(-1)
  assert checkpoints.sound_steps() == [1, 3]
  checkpoints.restore(state, 1)
  assert float(state.value.numpy()) == 1.0
  assert names(three) == ["ahead", "corrupt", "step-00000001"]
  assert [name.rpartition("-")[0] for name in names(three / "ahead")] == ["step-00000003"]
  assert [name.rpartition("-")[0] for name in names(three / "corrupt")] == [
    "step-00000002",
    "step-00000004",
  ]
  assert str(three / "ahead") in caplog.text
  assert newest(three) == (1, 1.0)


def test_there_are_no_sound_ones_where_nothing_was_saved(tmp_path):
  assert checkpoint.Checkpoints(tmp_path).sound_steps() == []


def test_remains_of_an_interrupted_write_are_swept_and_never_read(three, caplog):
  """K4."""
  shutil.copytree(three / "step-00000003", three / ".writing-step-00000004")
  (three / ".writing-step-00000005").mkdir()
  (three / ".removing-step-00000000").mkdir()
  (three / ".removing-step-00000000" / DATA).write_bytes(bytes(1_000_000))
  size = sum(path.stat().st_size for path in (three / "step-00000003").iterdir())
  assert newest(three) == (3, 3.0)
  assert names(three) == ["step-00000001", "step-00000002", "step-00000003"]
  (message,) = caplog.messages
  assert message.endswith(f"{1_000_000 + size:,} bytes freed")
  for name in (".writing-step-00000004", ".writing-step-00000005", ".removing-step-00000000"):
    assert name in message
  caplog.clear()
  newest(three)
  assert caplog.text == ""


def test_neither_the_clock_nor_a_time_zone_says_which_is_the_newest(three, monkeypatch):
  """T11."""
  for step, seconds in ((1, 3e9), (2, 2e9), (3, 1)):  # a clock that went backwards
    for path in (three / f"step-{step:08d}").iterdir():
      os.utime(path, (seconds, seconds))
    os.utime(three / f"step-{step:08d}", (seconds, seconds))
  monkeypatch.setenv("TZ", "Pacific/Kiritimati")
  time.tzset()
  assert newest(three) == (3, 3.0)
  monkeypatch.undo()
  time.tzset()
  assert newest(three) == (3, 3.0)


@pytest.mark.parametrize("content", [b"", b"\xff", b'model_checkpoint_path: "../../elsewhere/x"'])
def test_a_state_file_of_tensorflow_says_nothing(three, content):
  """K2, K7: what is there is found by looking, and nothing leads out of the folder."""
  (three / "checkpoint").write_bytes(content)
  assert newest(three) == (3, 3.0)


def test_folders_that_are_none_of_ours_are_left_alone(three):
  (three / "step-00000003-copy").mkdir()
  (three / "notes").mkdir()
  assert newest(three) == (3, 3.0)
  assert "step-00000003-copy" in names(three)


@pytest.mark.parametrize(
  ("saved", "options", "why"),
  [
    (
      {},
      {"config": "B"},
      "it lacks model/layers/conv1_2/biases, model/layers/conv1_2/weights, "
      "model/layers/conv2_2/biases, model/layers/conv2_2/weights;",
    ),
    ({}, {"norm": "batch"}, "it lacks model/norms/conv1_1/moving_mean, .* and 28 more;"),
    (
      {},
      {"width": 1 / 32},
      r"other shapes: model/layers/conv1_1/biases \(4,\) for \(2,\), model/layers/conv1_1/weights "
      r"\(3, 3, 3, 4\) for \(3, 3, 3, 2\), .* and 17 more;",
    ),
    (
      {"config": "B"},
      {},
      "it has besides model/layers/conv1_2/biases, model/layers/conv1_2/weights, "
      "model/layers/conv2_2/biases, model/layers/conv2_2/weights;",
    ),
  ],
  ids=["more layers", "a norm", "narrower", "fewer layers"],
)
def test_checkpoint_of_another_net_is_refused(tmp_path, saved, options, why):
  """K5."""
  found = parts.net(**options)
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(tf.train.Checkpoint(model=parts.net(**saved)), 1)
  expected = f"step-00000001/state is of another configuration than this run's: {why}"
  with pytest.raises(errors.IntegrityError, match=expected):
    checkpoints.restore_newest(tf.train.Checkpoint(model=found))
  assert names(tmp_path) == ["step-00000001"]  # sound, so it stays
  if not saved:  # more than the net needs serves the other jobs
    with pytest.raises(errors.IntegrityError, match=expected):
      restoring.restore(tf.train.Checkpoint(model=found), checkpoints.prefix(1), whole=False)


def test_checkpoint_with_more_than_the_net_serves_the_other_jobs_alone(tmp_path):
  net, other = parts.net(), parts.net(seed=1)
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(tf.train.Checkpoint(model=net, step=tf.Variable(7)), 7)
  with pytest.raises(errors.IntegrityError, match="another configuration"):
    checkpoints.restore_newest(tf.train.Checkpoint(model=other))
  restoring.restore(tf.train.Checkpoint(model=other), checkpoints.prefix(7), whole=False)
  for ours, theirs in zip(net.variables, other.variables, strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_the_newest_and_the_best_are_kept(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path, keep=2)
  for step, error in enumerate((0.9, 0.3, None, 0.4, 0.3, None, None, None), 1):
    checkpoints.save(Small(step), step, error)
  assert names(tmp_path) == ["step-00000002", "step-00000007", "step-00000008"]
  assert checkpoints.find("best") == 2  # of equals the first
  assert checkpoints.find("latest") == 8
  with pytest.raises(errors.UsageError, match="expected 'latest' or 'best'"):
    checkpoints.find("newest")
  with pytest.raises(errors.UsageError, match="expected at least 1"):
    checkpoint.Checkpoints(tmp_path, keep=0)


def test_the_best_that_is_damaged_gives_way_to_the_next(three, caplog):
  flip_bit(three / "step-00000001" / DATA)
  assert checkpoint.Checkpoints(three).find("best") == 2
  assert "checkpoint of step 1 is damaged" in caplog.text


@pytest.mark.parametrize("nan_at", [1, 2, 3])
def test_an_error_that_is_not_a_number_never_is_the_best(tmp_path, nan_at):
  """K10."""
  checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
  for step, error in ((1, 0.5), (2, 0.2), (3, 0.4), (4, float("inf"))):
    checkpoints.save(Small(step), step, float("nan") if step == nan_at else error)
  best = 3 if nan_at == 2 else 2
  assert checkpoints.find("best") == best
  assert names(tmp_path) == [f"step-{best:08d}", "step-00000004"]


def test_commit_is_json_that_everybody_reads(tmp_path):
  def refuse(constant):
    raise ValueError(constant)

  checkpoint.Checkpoints(tmp_path).save(Small(), 1, float("nan"))
  text = (tmp_path / "step-00000001" / COMMIT).read_text()
  commit = json.loads(text, parse_constant=refuse)  # NaN is no JSON
  assert commit["error"] is None
  assert sorted(commit["sha256"]) == [DATA, INDEX]
  # Written by hand or by an earlier release, it is no number either.
  (tmp_path / "step-00000001" / COMMIT).write_text(text.replace("null", "NaN"))
  with pytest.raises(errors.UsageError, match="was evaluated; use 'latest'"):
    checkpoint.Checkpoints(tmp_path).find("best")


def test_a_step_is_written_once(three):
  before = (three / "step-00000003" / COMMIT).stat().st_mtime_ns
  checkpoint.Checkpoints(three).save(Small(99), 3)
  assert (three / "step-00000003" / COMMIT).stat().st_mtime_ns == before


class Full(Small):
  """A state that fills the disk when it is written."""

  def write(self, prefix):
    with open(f"{prefix}.data-00000-of-00001", "wb") as file:
      file.write(b"half")
    raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")


def test_full_disk_is_a_fault_of_the_machine_and_leaves_what_was(three):
  """K6."""
  with pytest.raises(errors.EnvironmentFault, match=r"step 4 cannot be written.*No space left"):
    checkpoint.Checkpoints(three, keep=1).save(Full(), 4)
  assert names(three) == ["step-00000001", "step-00000002", "step-00000003"]
  assert newest(three) == (3, 3.0)


def test_disk_that_fills_up_at_the_last_file_leaves_nothing_either(three, monkeypatch):
  def full(self, text):
    raise OSError(errno.ENOSPC, "No space left on device", str(self))

  monkeypatch.setattr("pathlib.Path.write_text", full)
  with pytest.raises(errors.EnvironmentFault, match="No space left on device"):
    checkpoint.Checkpoints(three).save(Small(), 4)
  assert names(three) == ["step-00000001", "step-00000002", "step-00000003"]


def test_disk_that_the_system_calls_full_leaves_nothing_either(three):
  big = tf.train.Checkpoint(value=tf.Variable(tf.zeros([1 << 18])))
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # Python ignores the signal
  try:
    with pytest.raises(errors.EnvironmentFault, match=r"step 4 cannot be written to .*; make room"):
      checkpoint.Checkpoints(three).save(big, 4)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert names(three) == ["step-00000001", "step-00000002", "step-00000003"]
  checkpoint.Checkpoints(three).save(big, 4)
  assert checkpoint.Checkpoints(three).find("latest") == 4


def test_what_training_removes_while_it_is_read_gives_way_to_the_next(three):
  """K9."""
  checkpoints, prefixes = checkpoint.Checkpoints(three, keep=1), []

  def read(prefix):
    prefixes.append(prefix)
    if len(prefixes) == 1:
      checkpoints.save(Small(4), 4)  # and removes 2 and 3
    state = Small()
    restoring.restore(state, prefix)
    return float(state.value.numpy())

  assert checkpoints.read("latest", read) == (4.0, 4)
  assert prefixes == [checkpoints.prefix(3), checkpoints.prefix(4)]


def test_what_training_removes_while_it_is_verified_gives_way_to_the_next(
  three, monkeypatch, caplog
):
  checkpoints = checkpoint.Checkpoints(three, keep=1)
  steps = checkpoints._steps

  def list_and_train():
    monkeypatch.setattr(checkpoints, "_steps", steps)
    found = steps()
    checkpoints.save(Small(4), 4)
    return found

  monkeypatch.setattr(checkpoints, "_steps", list_and_train)
  assert checkpoints.find("latest") == 4
  assert "damaged" not in caplog.text


def test_what_cannot_be_read_though_it_is_there_is_said_once(three):
  def read(prefix):
    prefixes.append(prefix)
    raise errors.IntegrityError("of another net")

  prefixes = []
  with pytest.raises(errors.IntegrityError, match="of another net"):
    checkpoint.Checkpoints(three).read("latest", read)
  assert len(prefixes) == 1


def test_killed_at_the_rename_leaves_the_checkpoint_unseen(three, monkeypatch):
  def killed(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
      checkpoint.Checkpoints(three).save(Small(4), 4)
  assert ".writing-step-00000004" in names(three)
  assert checkpoint.Checkpoints(three).find("latest") == 3
  assert newest(three) == (3, 3.0)
  assert names(three) == ["step-00000001", "step-00000002", "step-00000003"]


def test_killed_while_one_is_replaced_leaves_the_one_before(tmp_path, monkeypatch):
  """P1, P5: it may be the only one."""
  checkpoints = checkpoint.Checkpoints(tmp_path)
  checkpoints.save(Small(4), 4)
  rename, calls = os.rename, []

  def killed(*arguments):
    calls.append(arguments)
    if len(calls) == 2:
      raise KeyboardInterrupt
    rename(*arguments)

  with monkeypatch.context() as patch:
    patch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
      checkpoints.save(Small(44), 4, error=0.5)
  assert not checkpoints.any()
  assert newest(tmp_path) == (4, 4.0)
  assert names(tmp_path) == ["step-00000004"]
  checkpoints.save(Small(44), 4, error=0.5)
  assert newest(tmp_path) == (4, 44.0)
  assert checkpoints.find("best") == 4


def test_a_state_that_diverged_is_kept_whole_and_never_taken_for_a_checkpoint(three):
  checkpoints = checkpoint.Checkpoints(three, keep=3)
  for value, step in ((1.0, 3), (float("nan"), 4), (float("inf"), 4)):  # the last alone stays
    at = checkpoints.save_diverged(Small(value), step, ["4 a", "4 b"])
  assert not (three / "diverged-00000003").exists()
  assert at == three / "diverged-00000004"
  assert names(at) == [COMMIT, "images.txt", DATA, INDEX]
  assert (at / "images.txt").read_text() == "4 a\n4 b\n"
  sha256 = json.loads((at / COMMIT).read_text())["sha256"]
  assert sha256 == {
    name: hashlib.sha256((at / name).read_bytes()).hexdigest()
    for name in ("images.txt", DATA, INDEX)
  }
  state = Small()
  restoring.restore(state, str(at / "state"))
  assert state.value.numpy() == float("inf")
  assert newest(three) == (3, 3.0)
  assert (checkpoints.find("latest"), checkpoints.find("best")) == (3, 1)
  for step in range(1, 4):
    shutil.rmtree(three / f"step-{step:08d}")
  assert not checkpoints.any()
  assert newest(three) == (None, -1.0)
  checkpoint.Checkpoints(three, keep=1).save(Small(4), 4)
  assert names(three) == ["diverged-00000004", "step-00000004"]


def test_full_disk_keeps_no_part_of_a_state_that_diverged(three):
  with pytest.raises(errors.EnvironmentFault, match="step 4 cannot be written"):
    checkpoint.Checkpoints(three).save_diverged(Full(), 4, [])
  assert names(three) == ["step-00000001", "step-00000002", "step-00000003"]
