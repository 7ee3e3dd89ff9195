import errno
import fcntl
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys

import pytest

from vggtf import errors, metrics, workdir
from vggtf import results as results_file

FACTS = workdir.RunFacts(
  labels=("tench", "poisson doré"),
  mean_rgb=(123.68, 116.779, 0.1),
  data_dir="/data/set",
  manifest_sha256="ab" * 32,
  splits={"train": 3, "validation": 1},
  rejected={"truncated": 1},
)


@pytest.fixture
def run(tmp_path):
  return workdir.Workdir(str(tmp_path / "run-1"))


def test_facts_come_back_as_they_were(run):
  run.write_facts(FACTS)
  assert run.read_facts() == FACTS


def test_a_folder_without_a_run_is_refused(run):
  expected = r"--workdir=.*run-1 holds no run \(run.json is missing\); train one there first"
  with pytest.raises(errors.UsageError, match=expected):
    run.read_facts()


@pytest.mark.parametrize(
  "damage",
  [
    lambda text: b"",
    lambda text: text[: len(text) // 2],
    lambda text: b"[]",
    lambda text: b"null",
    lambda text: b"{}",
    lambda text: text.replace(b'"splits"', b'"spilts"'),
    lambda text: b"\xff\xfe" + text,
  ],
)
def test_damaged_facts_are_named_with_the_cure(run, damage):
  run.write_facts(FACTS)
  run.facts.write_bytes(damage(run.facts.read_bytes()))
  with pytest.raises(errors.IntegrityError, match=r"run.json is damaged; delete it and run the"):
    run.read_facts()


def test_a_remote_folder_is_refused():
  with pytest.raises(errors.UsageError, match=r"--workdir=gs://b/run: .* must be local or mounted"):
    workdir.Workdir("gs://b/run")


def test_a_run_is_named_after_its_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert workdir.Workdir(".").name == tmp_path.name
  assert workdir.Workdir(f"{tmp_path}/a/").name == "a"


def results(step, text="dense"):
  return results_file.lines("evaluate", "run-1", step, text, {"top1_error": metrics.Mean(3.0, 8.0)})


def test_a_result_says_what_was_measured_where():
  assert results(400) == [
    {
      "job": "evaluate",
      "run": "run-1",
      "checkpoint": "step-00000400",
      "step": 400,
      "protocol": "dense",
      "metric": "top1_error",
      "value": 0.375,
      "count": 8,
    }
  ]


def test_results_are_appended_and_read_in_order(run):
  assert run.read_results() == []
  run.path.mkdir()
  run.append_results(results(1) + results(2))
  run.append_results(results(3, "dense × 2\n\u2028"))
  assert run.read_results() == results(1) + results(2) + results(3, "dense × 2\n\u2028")
  assert len(run.results.read_bytes().split(b"\n")) == 4


def test_a_torn_last_line_is_passed_over(run):
  run.path.mkdir()
  run.append_results(results(1) + results(2))
  whole = run.results.read_bytes()
  for size in range(len(whole) // 2 + 1, len(whole) - 1):
    run.results.write_bytes(whole[:size])
    assert run.read_results() == results(1)


def test_a_torn_last_line_does_not_swallow_the_next(run):
  run.path.mkdir()
  run.append_results(results(1) + results(2))
  run.results.write_bytes(run.results.read_bytes()[:-9])
  run.append_results(results(3))
  run.append_results(results(4))
  assert run.read_results() == results(1) + results(3) + results(4)
  assert all(map(json.loads, run.results.read_text().splitlines()[2:]))


def test_results_that_do_not_fit_leave_those_before_as_they_were(run):
  run.path.mkdir()
  run.append_results(results(1))
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  size = run.results.stat().st_size + 9
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))  # Python ignores the signal
  try:
    for _ in range(2):
      with pytest.raises(errors.EnvironmentFault, match=r"cannot be written to .*jsonl \("):
        run.append_results(results(2))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert run.read_results() == results(1)
  run.append_results(results(3))
  assert run.read_results() == results(1) + results(3)
  assert b"\n\n" not in run.results.read_bytes()


def test_a_text_is_written_whole_and_nothing_is_left_beside_it(tmp_path):
  path = tmp_path / "new" / "config.gin"
  for text in ("one\n", "", "två ×\n"):
    workdir.write_text(path, text)
    assert path.read_bytes() == text.encode()
    assert os.listdir(path.parent) == ["config.gin"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_write_keeps_what_was_there_and_leaves_nothing(tmp_path, monkeypatch, failing):
  def fail(*_):
    raise OSError(28, "No space left on device")

  path = tmp_path / "config.gin"
  workdir.write_text(path, "old")
  monkeypatch.setattr(os, failing, fail)
  with pytest.raises(OSError, match="No space left"):
    workdir.write_text(path, "new")
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["config.gin"]


def test_a_path_that_cannot_be_a_file_s_is_refused(tmp_path):
  (tmp_path / "file").touch()
  for name in ("file/a", "file/a/b"):
    with pytest.raises(errors.UsageError, match=f"{name} lies below a file; expected a folder"):
      workdir.write_text(tmp_path / name, "text")
  with pytest.raises(errors.UsageError, match="is a folder; expected a file"):
    workdir.write_text(tmp_path, "text")
  assert os.listdir(tmp_path) == ["file"]


def test_a_text_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
  calls = []
  for name in ("fsync", "replace"):
    done = getattr(os, name)
    monkeypatch.setattr(os, name, lambda *a, name=name, done=done: calls.append(name) or done(*a))
  workdir.write_text(tmp_path / "a", "text")
  assert calls == ["fsync", "replace"]


CLAIM = """
import sys
from vggtf import workdir
with workdir.Workdir(sys.argv[1]).claimed():
  print("claimed", flush=True)
  sys.stdin.read()
"""


def test_a_claim_names_its_process_and_ends_with_it_even_when_killed(run):
  other = subprocess.Popen(
    [sys.executable, "-c", CLAIM, str(run.path)],
    cwd=pathlib.Path(__file__).parents[1],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  with other:
    assert other.stdout.readline() == "claimed\n"
    named = rf"by pid {other.pid} on {socket.gethostname()}, since 20\d\d-.*; wait for it, or"
    for _ in range(2):  # who was refused takes nothing away
      with pytest.raises(errors.EnvironmentFault, match=named), run.claimed():
        pass
    other.send_signal(signal.SIGKILL)
  with run.claimed():
    assert json.loads(run.owner.read_text())["pid"] == os.getpid()
  with run.claimed(), pytest.raises(errors.EnvironmentFault, match="trained in"), run.claimed():
    pass


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": 7}'])
def test_an_owner_that_cannot_be_read_is_another_process(run, content):
  with run.claimed():
    run.owner.write_text(content)
    with pytest.raises(errors.EnvironmentFault, match="by another process; wait"), run.claimed():
      pass


def test_a_claim_ends_with_what_it_was_for(run):
  with pytest.raises(KeyError), run.claimed():
    raise KeyError
  with run.claimed():
    pass


def test_a_file_system_without_locks_is_warned_of(run, monkeypatch, caplog):
  def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", refuse)
  with run.claimed():
    assert "cannot be locked (No locks available): see to it" in caplog.text


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_to_is_a_fault_of_the_machine(run, monkeypatch, code):
  def refuse(*_, **__):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
  with (
    pytest.raises(
      errors.EnvironmentFault, match=rf"run-1 cannot be written to \({os.strerror(code)}"
    ),
    run.claimed(),
  ):
    pass


def test_a_file_is_no_run(run):
  run.path.write_text("")
  for path in (run.path, run.path / "below"):
    with (
      pytest.raises(errors.UsageError, match="is a file or lies below one"),
      workdir.Workdir(str(path)).claimed(),
    ):
      pass
    with pytest.raises(errors.UsageError, match="is a file or lies below one"):
      workdir.Workdir(str(path)).read_facts()
