"""Whole runs: what they leave behind, how they go on, and how they end."""

import functools
import json
import logging
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from tests import samples
from tests.jobs import runs
from vggtf import errors, workdir
from vggtf.data import pipeline
from vggtf.evaluators import classification
from vggtf.losses import weight_decay
from vggtf.optimizers import schedules
from vggtf.reports import summary
from vggtf.training import checkpoint, magnitudes, trained

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data")


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
  """Returns the folder of a run that nothing interrupted; not to be written to."""
  folder = tmp_path_factory.mktemp("whole") / "run"
  runs.run(folder, data_dir)
  return folder


@pytest.fixture
def copy(whole, tmp_path):
  """Returns a copy of that folder, of the same name."""
  return pathlib.Path(shutil.copytree(whole, tmp_path / "run"))


def test_a_run_leaves_its_files(whole, data_dir):
  assert sorted(path.name for path in whole.iterdir()) == [
    "checkpoints",
    "config.gin",
    "logs",
    "operative_config.gin",
    "owner.json",
    "results.jsonl",
    "run.json",
  ]
  assert (whole / "config.gin").read_text() == "a = 1\nb = 2\n"
  assert (whole / "operative_config.gin").read_text() == "a = 1\nb = 2\nc = 3\n"
  assert runs.steps(whole) == [3, 6]
  facts = workdir.Workdir(str(whole)).read_facts()
  assert facts.labels == ("class 0", "class 1", "class 2", "class 3")
  assert facts.data_dir == data_dir
  assert facts.splits == {"train": 48, "validation": 17}


def test_results_are_those_of_the_checkpoints(whole, data_dir):
  folder = workdir.Workdir(str(whole))
  lines = folder.read_results()
  found = {(line["step"], line["metric"]): line for line in lines}
  assert sorted(found) == [(s, m) for s in (2, 4, 6) for m in ("top1_error", "top5_error")]
  net, step = trained.load_model(folder, folder.read_facts(), runs.MODEL, "latest")
  assert step == runs.STEPS
  for metric, mean in runs.VALIDATOR(net, data_dir)().items():
    line = found[runs.STEPS, metric]
    assert (line["value"], line["count"]) == (mean.value, 17)
    assert line["protocol"] == "centre 32 of 32"
    assert line["checkpoint"] == "step-00000006"
  commits = {
    step: json.loads((whole / f"checkpoints/step-{step:08d}/COMMIT.json").read_text())
    for step in (3, 6)
  }
  assert commits[3]["error"] is None
  assert commits[6]["error"] == found[6, "top1_error"]["value"]


def test_curves_are_in_tensorboard(whole):
  def curve(kind, name):
    found = event_accumulator.EventAccumulator(str(whole / "logs" / kind)).Reload()
    return {e.step: tf.make_ndarray(e.tensor_proto).item() for e in found.Tensors(name)}

  assert sorted(curve("train", "loss")) == [2, 4, 6]
  assert curve("train", "learning_rate") == pytest.approx({2: 1e-3, 4: 1e-3, 6: 1e-4})
  results = workdir.Workdir(str(whole)).read_results()
  expected = {line["step"]: line["value"] for line in results if line["metric"] == "top1_error"}
  assert curve("validation", "top1_error") == pytest.approx(expected)
  assert curve("train", "config") == {0: b"    a = 1\n    b = 2"}


def test_a_finished_run_has_nothing_to_do(copy, data_dir, caplog):
  """T8."""
  before = runs.saved(copy, 6)
  with caplog.at_level(logging.INFO, "vggtf"):
    runs.run(copy, data_dir)
  assert "nothing to do" in caplog.text
  assert "holds step 6 of 6" in caplog.text
  assert runs.steps(copy) == [3, 6]
  assert runs.saved(copy, 6) == before


def test_another_configuration_is_refused_with_the_difference(copy, data_dir):
  with pytest.raises(errors.UsageError) as caught:
    runs.run(copy, data_dir, text="a = 1\nb = 3\n")
  message = str(caught.value)
  assert "has another configuration; take another --workdir" in message
  assert message.endswith("--- kept\n+++ given\n@@ -2 +2 @@\n-b = 2\n+b = 3")
  assert (copy / "config.gin").read_text() == "a = 1\nb = 2\n"
  runs.run(copy, data_dir, text="a = 1\nb = 3\n", allow_config_change=True)
  assert (copy / "config.gin").read_text() == "a = 1\nb = 3\n"


def test_other_data_are_refused(copy, tmp_path):
  other = samples.digits_like(tmp_path / "other", train=40)
  with pytest.raises(errors.UsageError, match="holds other data; take another --workdir"):
    runs.run(copy, other)
  assert workdir.Workdir(str(copy)).read_facts().splits["train"] == 48


def test_the_same_data_elsewhere_are_the_same(copy, tmp_path):
  other = samples.digits_like(tmp_path / "moved")
  runs.run(copy, other)
  assert workdir.Workdir(str(copy)).read_facts().data_dir == other


def test_a_folder_is_trained_in_by_one_process_and_read_by_any(copy, data_dir):
  """T10, K8, K9."""
  before = {path: path.read_bytes() for path in copy.glob("*.*")}
  run = workdir.Workdir(str(copy))
  with run.claimed():
    with pytest.raises(
      errors.EnvironmentFault, match=rf"trained in by pid {os.getpid()} on "
    ) as at:
      runs.run(copy, data_dir, text="a = 2\n", steps=9)
    _, step = trained.load_model(run, run.read_facts(), runs.MODEL, "latest")
    assert "top-1 error" in summary.text(summary.of_run(run))
  assert (at.value.exit_code, step, runs.steps(copy)) == (5, 6, [3, 6])
  before.pop(run.owner)
  assert all(path.read_bytes() == content for path, content in before.items())
  runs.run(copy, data_dir)


def test_a_folder_that_cannot_be_written_to_costs_no_work(tmp_path, data_dir):
  """L4."""
  (tmp_path / "file").touch()
  with pytest.raises(errors.UsageError, match="is a file or lies below one"):
    runs.run(tmp_path / "file" / "run", data_dir, model=None)
  with pytest.raises(errors.EnvironmentFault, match=r"--workdir=/proc/run cannot be written to"):
    runs.run("/proc/run", data_dir, model=None)


def test_a_configuration_that_never_trained_may_be_mended(tmp_path, data_dir):
  with pytest.raises(errors.UsageError, match="config = 'Z' is unknown"):
    runs.run(tmp_path / "run", data_dir, text="Z", model=lambda **_: runs.MODEL(config="Z", **_))
  runs.run(tmp_path / "run", data_dir, text="A", steps=0)
  assert (tmp_path / "run" / "config.gin").read_text() == "A"


def test_0_steps_save_the_net_as_it_is_drawn(tmp_path, data_dir):
  runs.run(tmp_path / "run", data_dir, steps=0)
  assert runs.steps(tmp_path / "run") == [0]
  folder = workdir.Workdir(str(tmp_path / "run"))
  facts = folder.read_facts()
  net, step = trained.load_model(folder, facts, runs.MODEL, "latest")
  assert step == 0
  drawn = runs.MODEL(classes=4, mean_rgb=facts.mean_rgb)
  for ours, expected in zip(net.variables, drawn.variables, strict=True):
    np.testing.assert_array_equal(ours, expected)


def test_a_signal_ends_the_run_after_its_step_and_the_rest_is_bit_for_bit_the_same(
  whole, data_dir, tmp_path
):
  """T3."""

  class Signalled(classification.Classification):
    """Is measuring for the second time when the signal comes."""

    measured = 0

    def __call__(self):
      self.measured += 1
      if self.measured == 2:
        os.kill(os.getpid(), signal.SIGTERM)
      return super().__call__()

  def evaluator(net, data_dir):
    return Signalled(net, data_dir, runs.CENTRE)

  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(errors.Preempted, match="checkpoint of step 4 saved in") as caught:
    runs.run(tmp_path / "run", data_dir, evaluator=evaluator)
  assert caught.value.exit_code == 42
  assert signal.getsignal(signal.SIGTERM) is before
  assert runs.steps(tmp_path / "run") == [3, 4]
  runs.run(tmp_path / "run", data_dir)
  assert runs.saved(tmp_path / "run", 6) == runs.saved(whole, 6)
  results = [workdir.Workdir(str(at)).read_results() for at in (tmp_path / "run", whole)]
  assert results[0] == results[1]


def test_a_killed_run_goes_on_from_its_newest_sound_checkpoint(whole, copy, data_dir, caplog):
  """T4, K1."""
  os.truncate(copy / "checkpoints/step-00000006/state.data-00000-of-00001", 1000)
  (copy / "checkpoints/.writing-step-00000007").mkdir()
  with caplog.at_level(logging.INFO, "vggtf"):
    runs.run(copy, data_dir, steps_per_call=1)
  assert "checkpoint of step 6 is damaged" in caplog.text
  assert "training from step 3 to 6" in caplog.text
  assert sorted(path.name for path in (copy / "checkpoints").iterdir()) == [
    "corrupt",
    "step-00000003",
    "step-00000006",
  ]
  assert runs.saved(copy, 6) == runs.saved(whole, 6)


def test_a_run_whose_checkpoints_are_damaged_is_not_begun_anew(copy, data_dir):
  """P5."""
  for path in (copy / "checkpoints").glob("*/COMMIT.json"):
    path.unlink()
  for _ in range(2):
    with pytest.raises(errors.IntegrityError, match=r"every checkpoint in .* is damaged"):
      runs.run(copy, data_dir)


def test_a_run_that_diverges_ends_and_its_last_good_checkpoint_stays(copy, data_dir):
  """T1."""
  before = runs.saved(copy, 6)
  with pytest.raises(errors.DivergedError, match="Lower the learning rate") as caught:
    runs.run(copy, data_dir, rate=1e30, steps=20, steps_per_call=1, checkpoint_every=1)
  assert caught.value.exit_code == 6
  assert runs.steps(copy) == [3, 6]  # not 7, whose weights the next loss would find out about
  assert runs.saved(copy, 6) == before
  bad = copy / "checkpoints" / "diverged-00000007"
  assert f"by step 7; that state is in {bad}, with a list of" in str(caught.value)
  assert "the last good checkpoint is that of step 6. Lower" in str(caught.value)
  state = tf.train.load_checkpoint(str(bad / "state"))
  weights = state.get_tensor("model/layers/conv1_1/weights/.ATTRIBUTES/VARIABLE_VALUE")
  with np.errstate(over="ignore"):
    assert not np.isfinite(np.sum(np.square(weights)))
  assert state.get_tensor("step/.ATTRIBUTES/VARIABLE_VALUE") == 7


def test_the_images_of_the_steps_that_diverged_are_listed(tmp_path, data_dir):
  """T1."""
  seen = []

  class Feed(pipeline.TrainingFeed):
    def batches(self, first_step):
      for step, batch in enumerate(super().batches(0).take(3), 1):
        seen.extend(f"{step} {name.decode()}" for name in batch.id.numpy())
      return super().batches(first_step)

  feed = functools.partial(Feed, *runs.FEED.args, **runs.FEED.keywords)
  with pytest.raises(errors.DivergedError, match="; there is no sound checkpoint") as caught:
    runs.run(tmp_path / "run", data_dir, rate=1e30, steps=3, evaluate_every=9, feed=feed)
  (bad,) = (tmp_path / "run" / "checkpoints").glob("diverged-*")
  listed = (bad / "images.txt").read_text().splitlines()
  assert listed
  assert listed == seen[: len(listed)]
  assert len(listed) == 8 * int(bad.name.removeprefix("diverged-"))
  assert "the images since step 0" in str(caught.value)


def test_a_run_that_diverges_on_a_full_disk_says_so(copy, data_dir, monkeypatch):
  def full(*_):
    raise errors.EnvironmentFault("no room")

  monkeypatch.setattr(checkpoint.Checkpoints, "save_diverged", full)
  with pytest.raises(errors.DivergedError, match=r"not kept \(no room\); the last good .* step 6"):
    runs.run(
      copy,
      data_dir,
      rate=1e30,
      steps=9,
      steps_per_call=1,
      checkpoint_every=1,
      weight_decay=weight_decay.Nothing,
    )
  assert runs.steps(copy) == [3, 6]  # not 7, though there is no decay to tell of its weights


def test_a_disk_that_is_full_for_a_while_costs_a_checkpoint(
  tmp_path, data_dir, monkeypatch, caplog
):
  """K6."""
  write = tf.train.Checkpoint.write

  def full(state, prefix):
    if "step-00000002" in prefix:
      raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
    return write(state, prefix)

  monkeypatch.setattr(tf.train.Checkpoint, "write", full)
  runs.run(tmp_path / "run", data_dir, steps=3, checkpoint_every=2, evaluate_every=9)
  assert "training goes on, and tries again in 2 steps: the state of step 2 cannot" in caplog.text
  assert runs.steps(tmp_path / "run") == [3]


def test_what_cannot_be_measured_or_told_costs_the_run_its_exit_code_alone(
  tmp_path, data_dir, caplog
):
  """T7, T12: neither curves nor results can be written."""
  run = workdir.Workdir(str(tmp_path / "run"))
  run.results.mkdir(parents=True)
  run.logs.touch()
  constant = functools.partial(schedules.Steps, boundaries=(), initial=1e-3)
  with pytest.raises(errors.EnvironmentFault, match=r"no measurements of the steps 1: the results"):
    runs.run(run.path, data_dir, steps=1, schedule=constant)
  assert runs.steps(run.path) == [1]
  assert "no measurement of step 1, training goes on: the results cannot be written" in caplog.text
  assert f"curves cannot be written to {run.logs / 'train'} (" in caplog.text


def test_a_run_that_may_only_go_on_does_not_begin(tmp_path, data_dir):
  """K3."""
  with pytest.raises(errors.IntegrityError, match=r"--require_checkpoint, but .* holds none; "):
    runs.run(tmp_path / "run", data_dir, require_checkpoint=True)
  assert not (tmp_path / "run" / "config.gin").exists()


@pytest.mark.parametrize("name", ["evaluate_every", "checkpoint_every", "log_every"])
@pytest.mark.parametrize("value", [0, -3])
def test_steps_between_are_at_least_1(tmp_path, data_dir, name, value):
  with pytest.raises(errors.UsageError, match=rf"train\.run\.{name} = {value}: expected at least"):
    runs.run(tmp_path / "run", data_dir, **{name: value})
  assert not (tmp_path / "run").exists()


def test_a_block_is_at_least_1_step(tmp_path, data_dir):
  with pytest.raises(errors.UsageError, match="steps_per_call = 0"):
    runs.run(tmp_path / "run", data_dir, steps_per_call=0)


@pytest.mark.parametrize(
  ("name", "value", "expected"),
  [("steps", -1, "0 steps or more"), ("seed", -1, "0 to"), ("seed", 2**31, "0 to 2147483647")],
)
def test_a_number_that_cannot_be_is_refused_at_once(tmp_path, data_dir, name, value, expected):
  with pytest.raises(
    errors.UsageError, match=rf"train\.run\.{name} = {value}: expected {expected}"
  ):
    runs.run(tmp_path / "run", data_dir, **{name: value})
  assert not (tmp_path / "run").exists()


def test_the_largest_seed_trains(tmp_path, data_dir):
  runs.run(tmp_path / "run", data_dir, seed=2**31 - 1, steps=1, evaluate_every=1)
  assert runs.steps(tmp_path / "run") == [1]


def flip_bit(folder) -> str:
  path = max(folder.glob("scale_32/train-*"), key=os.path.getsize)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  return path.name


def test_a_damaged_record_stops_the_run_and_is_named(tmp_path):
  folder = pathlib.Path(samples.digits_like(tmp_path / "data", scales=(32,)))
  name = flip_bit(folder)
  with pytest.raises(errors.IntegrityError, match=rf"{name} record \d+"):
    runs.run(tmp_path / "run", folder, steps=20, evaluate_every=20)


def test_a_damaged_record_that_is_allowed_for_is_counted_in_the_results(tmp_path, caplog):
  folder = pathlib.Path(samples.digits_like(tmp_path / "data", scales=(32,)))
  name = flip_bit(folder)
  feed = functools.partial(runs.FEED, max_damaged=1)
  runs.run(tmp_path / "run", folder, steps=8, evaluate_every=8, feed=feed)  # 64 of 48 images
  run = workdir.Workdir(str(tmp_path / "run"))
  (line,) = (line for line in run.read_results() if line["metric"] == "damaged_images")
  assert (line["value"], line["count"]) == (1 / 48, 48)
  assert line["protocol"] == "replaced in training"
  assert "2.08% of 48 images (replaced in training)" in summary.text(summary.of_run(run))
  assert any(name in message and "replaced" in message for message in caplog.messages)


def test_images_that_end_early_are_no_short_run(tmp_path, data_dir):
  """T5."""

  class Ending(pipeline.TrainingFeed):
    def batches(self, first_step):
      return super().batches(first_step).take(3)

  feed = functools.partial(Ending, **runs.FEED.keywords)
  with pytest.raises(errors.IntegrityError, match="images end before step 6; ") as caught:
    runs.run(tmp_path / "run", data_dir, feed=feed, evaluate_every=9, checkpoint_every=2)
  assert caught.value.exit_code == 4
  assert runs.steps(tmp_path / "run") == [2]


def test_original_sizes_alone_can_be_trained_on(tmp_path):
  data = samples.digits_like(tmp_path / "data", scales=(0,))
  runs.run(tmp_path / "run", data, steps=1, evaluate_every=1)
  assert runs.steps(tmp_path / "run") == [1]


def test_memory_that_does_not_suffice_is_a_fault_of_the_machine(tmp_path, data_dir):
  """T2."""

  def exhausted(net, data_dir):
    class Evaluator(classification.Classification):
      def __call__(self):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    return Evaluator(net, data_dir, runs.CENTRE)

  with pytest.raises(errors.EnvironmentFault, match="out of memory with batches of 8 images"):
    runs.run(tmp_path / "run", data_dir, evaluator=exhausted, steps=1)


@pytest.mark.parametrize("short", ["net", "magnitudes"])
def test_memory_that_does_not_suffice_before_the_first_step_is_too(
  tmp_path, data_dir, monkeypatch, short
):
  """T2."""

  def exhausted(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

  if short == "magnitudes":
    monkeypatch.setattr(magnitudes, "measure", exhausted)
  model = exhausted if short == "net" else runs.MODEL
  with pytest.raises(errors.EnvironmentFault, match="out of memory"):
    runs.run(tmp_path / "run", data_dir, model=model, steps=1)


def test_workers_without_the_strategy_for_them_do_not_train_apart(tmp_path, data_dir, monkeypatch):
  config = {"cluster": {"worker": ["localhost:1", "localhost:2"]}}
  config["task"] = {"type": "worker", "index": 1}
  monkeypatch.setenv("TF_CONFIG", json.dumps(config))
  with pytest.raises(errors.UsageError, match=r"add --gin_file=gin/with/multi_worker\.gin"):
    runs.run(tmp_path / "run", data_dir)
  assert not (tmp_path / "run" / "checkpoints").exists()
