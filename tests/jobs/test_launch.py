"""The launcher with small programs as workers: outputs, signals, restarts, no orphans."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from tests import commands, samples
from tests.jobs import runs
from vggtf import errors
from vggtf.jobs import launch

# A worker that knows its index, and how often it was started before, in the folder of its test.
_PRELUDE = """
import json, os, pathlib, signal, sys, time
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
record = pathlib.Path(f"started-{index}")
before = len(record.read_text()) if record.exists() else 0
record.write_text("x" * (before + 1))
def say(text):
  print(text, flush=True)
"""


def start(folder, worker: str, workers=2, restarts=3, grace=30.0, flags=()) -> subprocess.Popen:
  (folder / "worker.py").write_text(_PRELUDE + worker)
  program = (
    "import sys\nfrom vggtf import errors\nfrom vggtf.jobs import launch\n"
    f"sys.exit(errors.run_command(lambda: launch.run({workers}, 'run', {list(flags)},"
    f" {restarts}, {grace}, [sys.executable, 'worker.py'])))"
  )
  return subprocess.Popen(
    [sys.executable, "-c", program],
    env={"PYTHONPATH": str(commands.ROOT)},
    cwd=folder,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    process_group=0,
  )


def finish(process: subprocess.Popen, code: int) -> tuple[list[str], list[str]]:
  """Returns the sorted lines of both outputs."""
  outputs = process.communicate(timeout=60)
  assert process.returncode == code, outputs
  return tuple(sorted(output.splitlines()) for output in outputs)


def starts(folder) -> list[int]:
  return [len((folder / f"started-{index}").read_text()) for index in range(2)]


def read_until(process: subprocess.Popen, *lines: str) -> None:
  waited = set(lines)
  while waited:
    line = process.stdout.readline()
    assert line, process.stderr.read()
    waited.discard(line.strip())


def test_each_worker_has_its_flags_and_its_place_in_one_cluster(tmp_path):
  worker = """
say(os.environ["TF_CONFIG"])
say(json.dumps(sys.argv[1:]))
sys.stderr.write("\\xe9 without an end")
"""
  output, error = finish(start(tmp_path, worker, flags=["--workers=2", "--workdir=run"]), 0)
  assert error == ["[worker 0] \xe9 without an end", "[worker 1] \xe9 without an end"]
  told = [[], []]
  for line in output:  # flags, which begin with "[", before TF_CONFIG, with "{"
    index, text = re.fullmatch(r"\[worker (\d)\] (.*)", line).groups()
    told[int(index)].append(json.loads(text))
  (flags_0, config_0), (flags_1, config_1) = told
  assert flags_0 == ["--workers=2", "--workdir=run", "--job=train", "--workdir=run"]
  assert flags_1 == [*flags_0[:-1], "--workdir=run/workers/1"]
  assert config_0["cluster"] == config_1["cluster"]
  assert [config["task"] for config in (config_0, config_1)] == [
    {"type": "worker", "index": index} for index in range(2)
  ]
  addresses = config_0["cluster"]["worker"]
  assert len(set(addresses)) == 2
  assert all(re.fullmatch(r"127\.0\.0\.1:\d+", address) for address in addresses)


@pytest.mark.parametrize("end", ["sys.exit(7)", "sys.exit(42)", "os.kill(os.getpid(), 9)"])
def test_what_a_restart_mends_is_started_again(tmp_path, end):
  finish(start(tmp_path, f"if not before:\n  {end}"), 0)
  assert starts(tmp_path) == [2, 2]


@pytest.mark.parametrize(
  ("end", "code"), [("sys.exit(7)", 7), ("sys.exit(42)", 42), ("os.kill(os.getpid(), 9)", 137)]
)
def test_restarts_have_a_limit(tmp_path, end, code):
  finish(start(tmp_path, end, restarts=1), code)
  assert starts(tmp_path) == [2, 2]


def test_what_no_restart_mends_ends_all_with_its_code_though_peers_fail_first(tmp_path):
  worker = "if index:\n  sys.exit(7)\ntime.sleep(1)\nsys.exit(6)"
  finish(start(tmp_path, worker), 6)
  assert starts(tmp_path) == [1, 1]


def test_what_others_end_with_after_a_worker_was_killed_is_no_cause(tmp_path):
  worker = """
if index and not before:
  os.kill(os.getpid(), 9)
time.sleep(1)
sys.exit(0 if before else 1)
"""
  finish(start(tmp_path, worker), 0)
  assert starts(tmp_path) == [2, 2]


def test_a_crash_is_not_repeated(tmp_path):
  finish(start(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)", workers=1), 128 + signal.SIGSEGV)
  assert len((tmp_path / "started-0").read_text()) == 1


def test_who_waits_for_a_failed_worker_is_stopped_and_then_killed(tmp_path):
  worker = """
if index == 0:
  signal.signal(signal.SIGTERM, lambda *_: say("told to stop"))
  (ready := pathlib.Path("ready")).touch()
  while True:
    time.sleep(0.1)
while not pathlib.Path("ready").exists():
  time.sleep(0.05)
sys.exit(2)
"""
  output, _ = finish(start(tmp_path, worker, grace=0.3), 2)
  assert output == ["[worker 0] told to stop"]


_SAVES = """
def stop(number, _):
  say(f"{signal.Signals(number).name}")
  time.sleep(0.3)  # a second one would be told of too
  sys.exit(42)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
say("ready")
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_each_worker_once_and_ends_all_with_42(tmp_path, number):
  launcher = start(tmp_path, _SAVES)
  read_until(launcher, "[worker 0] ready", "[worker 1] ready")
  os.killpg(launcher.pid, number)  # as a terminal does on Ctrl-C
  output, _ = finish(launcher, 42)
  assert output == [f"[worker 0] {number.name}", f"[worker 1] {number.name}"]
  assert starts(tmp_path) == [1, 1]


def test_workers_that_cannot_save_yet_end_by_the_signal(tmp_path):
  launcher = start(tmp_path, "say('ready')\ntime.sleep(60)")
  read_until(launcher, "[worker 0] ready", "[worker 1] ready")
  launcher.terminate()
  finish(launcher, 128 + signal.SIGTERM)


def test_no_worker_outlives_a_killed_launcher(tmp_path):
  launcher = start(tmp_path, "signal.signal(15, signal.SIG_IGN)\nsay(os.getpid())\ntime.sleep(60)")
  workers = [int(launcher.stdout.readline().split()[-1]) for _ in range(2)]
  launcher.kill()
  launcher.communicate(timeout=60)
  deadline = time.monotonic() + 30
  while any(_lives(worker) for worker in workers):
    assert time.monotonic() < deadline
    time.sleep(0.05)


def _lives(process: int) -> bool:
  try:
    with open(f"/proc/{process}/stat") as file:
      return file.read().rpartition(")")[2].split()[0] != "Z"
  except FileNotFoundError:
    return False


def test_a_reader_that_has_gone_does_not_stop_the_workers(tmp_path):
  launcher = start(tmp_path, "say('x' * 100_000)\nsay('x' * 100_000)", workers=1)
  launcher.stdout.close()
  assert launcher.stderr.read() == ""
  assert launcher.wait(timeout=60) == 0


@pytest.mark.parametrize(("workers", "restarts"), [(0, 3), (-1, 3), (1, -1)])
def test_counts_that_are_none(workers, restarts):
  with pytest.raises(
    errors.UsageError, match=f"--workers={workers} --restarts={restarts}: expected"
  ):
    launch.run(workers, "run", [], restarts)


def test_a_cluster_within_a_cluster_is_refused(monkeypatch):
  monkeypatch.setenv("TF_CONFIG", "{}")
  with pytest.raises(errors.UsageError, match="TF_CONFIG is set, and --job=launch makes one"):
    launch.run(2, "run", [])


def test_the_command_line_reaches_the_workers(tmp_path):
  flags = ("--gin_file", "no.gin", f"--workdir={tmp_path}", "--data_dir=d", "--job=launch")
  output, error = commands.run("vggtf.main", *flags, "--workers=1", code=2)
  assert output == ""
  assert re.search(r"^\[worker 0\] vggtf: ERROR 2: .*no\.gin", error, re.M)
  _, error = commands.run("vggtf.main", *flags, code=2)
  assert error == "vggtf: ERROR 2: --job=launch needs --workers\n"


def start_training(folder, data_dir, gin_file: str, **params) -> subprocess.Popen:
  """Starts the command line that a user would type."""
  return commands.start(
    "vggtf.main",
    "--job=launch",
    "--workers=2",
    f"--gin_file={gin_file}",
    "--gin_file=gin/with/multi_worker.gin",
    *(f"--gin_param={name.replace('__', '.')} = {value}" for name, value in params.items()),
    f"--data_dir={data_dir}",
    f"--workdir={folder}",
    cwd=commands.ROOT,
  )


def train_with_a_kill(folder, data_dir, kill_at: int, steps: int, *arguments, **params) -> None:
  """Trains twice, once with a kill -9 of worker 1, and compares all bits that were saved last."""
  params = {"train__run__steps": steps, **params}
  whole = start_training(folder / "whole", data_dir, *arguments, **params)
  _, error = whole.communicate()
  assert whole.returncode == 0, error
  killed = start_training(folder / "killed", data_dir, *arguments, **params)
  lines, step = [], re.compile(rf"\[worker 1\] .* step {kill_at} of {steps}: ")
  for line in killed.stderr:
    lines.append(line)
    if step.match(line) and len(list(filter(step.match, lines))) == 1:  # it comes by there again
      children = pathlib.Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
      os.kill(int(children[1]), signal.SIGKILL)
  assert killed.wait(60) == 0, lines
  told = "".join(lines)
  assert "worker 1 ended with exit code 137" in told
  assert "was lost; its own log says why; start all of them again" in told
  assert "all workers are started again, 1 of 3 times" in told
  workers = ("", "workers/1")
  found = [runs.saved(folder / run / at, steps) for run in ("whole", "killed") for at in workers]
  assert found == [found[0]] * 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_kill_of_a_worker_is_mended_and_changes_no_bit(tmp_path):
  """P1, by the command line; M9: each worker keeps its own checkpoints, and they are alike."""
  data_dir = samples.digits_like(tmp_path / "data")
  params = {
    "vgg__VGG__width": 0.05,
    "TrainingFeed__batch_size": 8,
    "train__run__evaluate_every": 10,
    "train__run__checkpoint_every": 2,
    "train__run__log_every": 1,
  }
  train_with_a_kill(tmp_path, data_dir, 15, 30, "gin/quickstart.gin", **params)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_kill_in_training_on_cifar_10_changes_no_bit(shared_data, tmp_path):
  with tarfile.open(shared_data / "cifar10.tar.gz") as archive:
    archive.extractall(tmp_path, filter="data")
  pictures = tmp_path / "cifar10"
  (pictures / "test").rename(pictures / "validation")
  flags = ("--source=folder", f"--input={pictures}", "--scales=32,36")
  shards = "--shards=train=4,validation=2"
  commands.run("data_tools.convert", *flags, shards, f"--output={tmp_path / 'data'}")
  params = {
    "train__run__evaluate_every": 100,
    "train__run__checkpoint_every": 20,
    "train__run__log_every": 10,
  }
  train_with_a_kill(tmp_path, tmp_path / "data", 50, 80, "gin/cifar10_vgg16.gin", **params)
