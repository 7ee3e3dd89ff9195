"""P11: a run is repeated from its run.json alone, and what comes out is compared bit for bit."""

import json
import os
import pathlib
import shutil
import signal
import sys
import threading
import time

import pytest

from tests import commands, samples
from tests.jobs import runs
from vggtf import errors, workdir
from vggtf.jobs import replay
from vggtf.training import checkpoint

# Stands for a training: tells how it was called, and leaves the checkpoints of another run.
PROGRAM = """
import json, os, pathlib, shutil, sys
source, *flags = sys.argv[1:]
folder = pathlib.Path([f for f in flags if f.startswith("--workdir=")][-1].split("=")[1])
(folder / "called.json").write_text(json.dumps([flags, dict(os.environ)]))
if source == "none":
  sys.exit(6)
if source == "killed":
  os.kill(os.getpid(), 9)
shutil.copytree(source, folder / "checkpoints")
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data")


@pytest.fixture(scope="module")
def drawn(data_dir, tmp_path_factory):
  """Returns the folder of a run of no steps; not to be written to."""
  folder = tmp_path_factory.mktemp("drawn") / "run"
  runs.run(folder, data_dir, steps=0)
  return folder


@pytest.fixture
def run(drawn, tmp_path):
  return workdir.Workdir(str(shutil.copytree(drawn, tmp_path / "run")))


def repeat(run, source, command_line=("--job=replay", "--gin_allow_import=nets"), **options):
  program = (sys.executable, "-c", PROGRAM, str(source))
  target = run.path.parent / "again"
  return replay.run(str(run.path), str(target), command_line, program=program, **options)


def called(run):
  return json.loads((run.path.parent / "again" / "called.json").read_text())


def change(run, **entries):
  content = run.read_description()
  for name, value in entries.items():
    for sitting in content["sittings"]:
      sitting[name] = value
  run.facts.write_text(json.dumps(content))


def test_run_json_describes_the_run(drawn, data_dir):
  described = workdir.Workdir(str(drawn)).read_description()
  assert described["configuration"] == {"text": "a = 1\nb = 2\n", "origins": {"a": "here:1"}}
  assert (described["seed"], described["steps"], described["data_dir"]) == (1, 0, data_dir)
  (sitting,) = described["sittings"]
  assert sitting["first_step"] == 0
  assert sitting["command"] == sys.orig_argv


def test_the_same_bits_are_the_same_run(run, data_dir, capfd, monkeypatch):
  monkeypatch.setenv("TF_CONFIG", '{"of": "somebody else"}')
  change(run, threads={"intra": 7, "inter": 5}, variables={"OMP_NUM_THREADS": "3"})
  assert repeat(run, run.checkpoints) == 0
  flags, environment = called(run)
  assert flags[:2] == ["--job=replay", "--gin_allow_import=nets"]
  again = run.path.parent / "again"
  assert flags[2:] == ["--job=train", f"--data_dir={data_dir}", f"--workdir={again}"]
  assert (again / "config.gin").read_text() == "a = 1\nb = 2\n"
  assert "TF_CONFIG" not in environment
  assert environment["OMP_NUM_THREADS"] == "3"
  assert environment["TF_NUM_INTRAOP_THREADS"] == "7"
  assert environment["TF_NUM_INTEROP_THREADS"] == "5"
  first, second = capfd.readouterr().out.splitlines()
  assert first.split()[0] == second.split()[0]
  assert len(first.split()[0]) == 64
  assert first.endswith(f"all variables of step 0 in {run.path}")
  assert second.endswith(f"all variables of step 0 in {again}")


def test_other_bits_end_with_what_differs(run, data_dir, tmp_path, capfd, caplog):
  runs.run(tmp_path / "other", data_dir, steps=0, model=lambda **a: runs.MODEL(seed=9, **a))
  change(run, cpu="a Z80")
  with pytest.raises(errors.IntegrityError, match=r"other bits.*: cpu was a Z80, is ") as caught:
    repeat(run, tmp_path / "other" / "checkpoints")
  assert caught.value.exit_code == 4
  first, second = (line.split()[0] for line in capfd.readouterr().out.splitlines())
  assert first != second
  assert "other than in the run: cpu was a Z80" in caplog.text


def test_a_training_that_fails_ends_the_replay_with_its_code(run):
  assert repeat(run, "none") == 6
  assert repeat(run, "killed") == 128 + signal.SIGKILL


def test_several_workers_are_repeated_by_as_many(run):
  change(run, workers=2)
  assert repeat(run, run.checkpoints) == 0
  assert called(run)[0][2:4] == ["--job=launch", "--workers=2"]
  again = run.path.parent / "again"
  for folder in (again, again / "workers" / "1"):
    assert (folder / "config.gin").read_text() == "a = 1\nb = 2\n"


def test_what_cannot_be_repeated_is_refused(run, data_dir, tmp_path):
  def refuse(match, **options):
    with pytest.raises(errors.UsageError, match=match):
      repeat(run, "none", **options)

  other = samples.digits_like(tmp_path / "other data", train=40)
  refuse("holds other data than the run", data_dir=other)
  with pytest.raises(errors.UsageError, match="is the run itself"):
    replay.run(str(run.path), f"{run.path}/.", ())
  content = run.read_description()
  run.facts.write_text(json.dumps(content | {"steps": 6}))
  refuse("has not ended: it holds step 0 of 6")
  changed = content["sittings"][0] | {"configuration_sha256": "0", "first_step": 3}
  run.facts.write_text(json.dumps(content | {"sittings": [content["sittings"][0], changed]}))
  refuse("went on with another configuration .* at step 3")
  content.pop("sittings")
  run.facts.write_text(json.dumps(content))
  refuse("does not say how")
  assert not (tmp_path / "again").exists()


def test_a_file_is_no_target(run):
  (run.path.parent / "again").touch()
  with pytest.raises(errors.UsageError, match="again is a file or lies below one; expected a fold"):
    repeat(run, run.checkpoints)


def test_another_run_is_not_written_over(run):
  (run.path.parent / "again").mkdir()
  (run.path.parent / "again" / "config.gin").write_text("a = 2\n")
  with pytest.raises(errors.UsageError, match="again holds a run of another configuration"):
    repeat(run, run.checkpoints)
  assert (run.path.parent / "again" / "config.gin").read_text() == "a = 2\n"


@pytest.mark.parametrize("name", ["threads", "workers", "configuration_sha256"])
def test_a_description_that_is_not_whole_is_damaged(run, name):
  content = run.read_description()
  del content["sittings"][0][name]
  run.facts.write_text(json.dumps(content))
  with pytest.raises(errors.IntegrityError, match=r"run\.json is damaged: it does not say all"):
    repeat(run, "none")


def test_sittings_are_kept_in_order_and_the_first_origins_stay(run, data_dir):
  runs.run(run.path, data_dir, steps=0)
  described = run.read_description()
  assert len(described["sittings"]) == 2
  run.describe({"first_step": 7}, "a = 1\nb = 2\n", {"a": "config.gin:1"}, seed=3)
  described = run.read_description()
  assert [sitting["first_step"] for sitting in described["sittings"]] == [0, 0, 7]
  assert described["configuration"]["origins"] == {"a": "here:1"}
  assert described["seed"] == 3
  assert run.read_facts().data_dir == data_dir  # and the facts are as they were


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_of_the_command_line_is_repeated_by_it(data_dir, tmp_path, workers):
  """Interrupted once, with bindings from files and flags, on one process or two."""
  flags = [
    "--gin_file=gin/quickstart.gin",
    "--gin_param=train.run.steps = 20",
    "--gin_param=train.run.checkpoint_every = 5",
    "--gin_param=train.run.steps_per_call = 1",
    "--gin_param=TrainingFeed.batch_size = 8",
    f"--data_dir={data_dir}",
    f"--workdir={tmp_path / 'run'}",
  ]
  if workers:
    flags += ["--gin_file=gin/with/multi_worker.gin", "--job=launch", f"--workers={workers}"]
  else:
    process = commands.start(
      "vggtf.main", *flags, env=os.environ | {"PYTHONPATH": str(commands.ROOT)}
    )
    while not list((tmp_path / "run" / "checkpoints").glob("step-*5")):
      assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
  commands.run("vggtf.main", *flags)
  origins = workdir.Workdir(str(tmp_path / "run")).read_description()["configuration"]["origins"]
  assert origins["train.run.steps"] == "--gin_param='train.run.steps = 20'"
  assert any("quickstart.gin:" in place for place in origins.values())
  target = tmp_path / "again"
  stdout, stderr = commands.run(
    "vggtf.main", "--job=replay", f"--workdir={tmp_path / 'run'}", f"--target={target}"
  )
  sums = [line.split()[0] for line in stdout.splitlines() if "all variables of step 20" in line]
  assert len(sums) == 2, stderr
  assert len(set(sums)) == 1
  assert checkpoint.Checkpoints(pathlib.Path(target) / "checkpoints").find("latest") == 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_training_which_ends_in_order(run, tmp_path, number):
  """P8: whoever asks the replay to stop asks its training."""
  program = (
    "import os, pathlib, signal, sys, time\n"
    "def stop(number, _):\n"
    "  sys.exit(42 if number == int(sys.argv[2]) else 1)\n"
    "signal.signal(int(sys.argv[2]), stop)\n"
    "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n"
    "time.sleep(60)\n"
  )
  begun = tmp_path / "begun"

  def ask():
    while not begun.exists() or not begun.read_text():
      time.sleep(0.05)
    os.kill(os.getpid(), number)

  asking = threading.Thread(target=ask)
  asking.start()
  command = (sys.executable, "-c", program, str(begun), str(int(number)))
  target = str(run.path.parent / "again")
  assert replay.run(str(run.path), target, ["--job=replay"], program=command) == 42
  asking.join()
  assert not pathlib.Path(f"/proc/{begun.read_text()}").exists()
