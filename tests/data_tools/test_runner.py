"""Beam's options without its forgiveness, its downloads and its exception types."""

import os
import re
import socket
from urllib.error import URLError

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions
from apache_beam.utils import subprocess_server

from data_tools import runner
from vggtf import errors

# In docs/runners.md, of other programs: docker, pip and Beam's services.
OTHERS = {"file", "tag", "service_port", "port", "worker_pool", "worker_machine_type"}


@pytest.mark.parametrize("given", [[], ["--runner=DirectRunner"], ["--runner", "direct"]])
def test_local_runner_downloads_nothing(given, capsys):
  options = runner.parse_options(given, ())
  assert options.view_as(StandardOptions).runner == "FnApiRunner"
  assert "running here, with FnApiRunner" in capsys.readouterr().err


def test_named_runner_is_kept(capsys):
  given = ["--runner=PortableRunner", "--job_endpoint=localhost:1", "--direct_num_workers", "3"]
  options = runner.parse_options(given, ())
  assert options.view_as(StandardOptions).runner == "PortableRunner"
  assert options.view_as(DirectOptions).direct_num_workers == 3
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (["--direct_num_worker=4"], "unknown option --direct_num_worker; did you mean --direct_num_w"),
    (["--qualty=4"], "unknown option --qualty; did you mean --quality?"),
    (["--streaming", "--jbo_name", "x"], "unknown option --jbo_name; did you mean --job_name?"),
    (["--direct_num_workers=abc"], "argument --direct_num_workers: invalid int value: 'abc'"),
    (["--direct_num_workers=-3"], "--direct_num_workers: got -3, expected 1 or more, or 0 for"),
    (["--default_sdk_harness_log_level=LOUD"], "got 'LOUD', expected one of DEBUG, INFO, WARN"),
    (["x"], "unexpected argument 'x'"),
    (["-x"], "unknown option --x"),
  ],
)
def test_options_that_beam_would_ignore_are_refused(given, said, capsys):
  with pytest.raises(errors.UsageError) as caught:
    runner.parse_options(given, {"--quality"})
  assert said in str(caught.value)
  assert capsys.readouterr().err == ""


def test_unknown_runner_is_a_usage_error():
  with pytest.raises(errors.UsageError, match=r"Valid values are .*FnApiRunner"):
    runner.run(runner.parse_options(["--runner=Nope"], ()), lambda pipeline: None)


@pytest.mark.parametrize("name", ["flink", "spark"])
def test_job_server_that_was_not_fetched_is_named(name):
  flag = f"--{name}_job_server_jar"
  with pytest.raises(errors.UsageError, match=rf"^{flag}=missing\.jar: .* fetch it first"):
    runner.parse_options([f"{flag}=missing.jar"], ())
  runner.parse_options([f"{flag}={__file__}"], ())
  runner.parse_options([f"{flag}=https://host/missing.jar"], ())


def test_job_server_that_cannot_be_fetched_is_named(tmp_path, monkeypatch):
  def fail(*_):
    raise URLError("no network")

  monkeypatch.setattr(subprocess_server.JavaJarServer, "_download_jar_to_cache", fail)
  options = runner.parse_options(["--runner=SparkRunner", f"--jar_cache_dir={tmp_path}"], ())
  with pytest.raises(
    errors.EnvironmentFault, match=r"job server https://repo\.maven\S*\.jar; fetch it"
  ):
    runner.run(options, lambda pipeline: pipeline | beam.Create([1]))


def test_job_service_that_does_not_answer_is_named(monkeypatch):
  monkeypatch.setattr(runner, "_PAUSES", (0, 0))
  with socket.create_server(("localhost", 0)) as server:  # its port is free once it is closed
    port = server.getsockname()[1]
  given = ["--runner=PortableRunner", f"--job_endpoint=localhost:{port}"]
  with pytest.raises(errors.EnvironmentFault, match=rf"no job service .*localhost:{port} .* start"):
    runner.run(runner.parse_options(given, ()), lambda pipeline: None)


def test_portable_runner_needs_an_endpoint():
  options = runner.parse_options(["--runner=PortableRunner"], ())
  with pytest.raises(errors.UsageError, match=r"^--job_endpoint is missing: .* or embed$"):
    runner.run(options, lambda pipeline: pipeline | beam.Create([1]))


def refuse(element):
  raise errors.IntegrityError(f"{element} is damaged; copy it again")


def fail(element):
  raise ZeroDivisionError(element)


# Beam's reading thread may outlive the failed run's server.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_errors_of_workers_keep_type_and_message(mode):
  options = runner.parse_options([f"--direct_running_mode={mode}", "--direct_num_workers=2"], ())
  with pytest.raises(errors.IntegrityError, match=r"^x is damaged; copy it again$"):
    runner.run(options, lambda p: p | beam.Create(["x"]) | beam.Map(refuse))


def list_folder(element):
  return os.listdir(element)


@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_refusal_of_a_worker_s_system_is_no_bug(mode, tmp_path):
  options = runner.parse_options([f"--direct_running_mode={mode}"], ())
  missing = str(tmp_path / "none")
  with pytest.raises(errors.EnvironmentFault, match=rf"No such file or directory: '{missing}'$"):
    runner.run(options, lambda p: p | beam.Create([missing]) | beam.Map(list_folder))


def test_bugs_stay_bugs():
  options = runner.parse_options([], ())
  with pytest.raises(ZeroDivisionError):
    runner.run(options, lambda p: p | beam.Create(["x"]) | beam.Map(fail))


def test_errors_are_recovered_from_the_text_of_a_traceback():
  text = (
    "Traceback (most recent call last):\n  File x\nvggtf.errors.EnvironmentFault: no space\n\n"
    "During handling\n\nvggtf.errors.EnvironmentFault: no space [while running 'WriteShards']\n"
  )
  recovered = runner.recover(RuntimeError(text))
  assert type(recovered) is errors.EnvironmentFault
  assert str(recovered) == "no space"
  assert runner.recover(RuntimeError("cannot be")) is None
  text = "OSError: [Errno 28] No space: 'x'\n\nDuring handling\n\nKeyError: 'x' [while running 'W']"
  assert runner.recover(RuntimeError(text)) is None


def test_dead_worker_and_interrupt_are_no_bugs():
  dead = runner.recover(RuntimeError("Channel closed prematurely."))
  assert type(dead) is errors.EnvironmentFault
  assert "a worker process died" in str(dead)
  interrupt = RuntimeError("KeyboardInterrupt [while running 'WriteShards']")
  assert type(runner.recover(interrupt)) is KeyboardInterrupt


def test_local_paths_are_refused_for_dataflow_alone():
  far = runner.parse_options(["--runner=DataflowRunner"], ())
  with pytest.raises(errors.UsageError, match=r"--output=/out: Dataflow's workers cannot reach it"):
    runner.refuse_local_paths(far, {"--input": "gs://bucket/in", "--output": "/out"})
  runner.refuse_local_paths(runner.parse_options([], ()), {"--output": "/out"})


def test_dry_run_is_dataflows_alone():
  assert runner.is_dry_run(runner.parse_options(["--runner=DataflowRunner", "--dry_run=True"], ()))
  assert not runner.is_dry_run(runner.parse_options(["--runner=DataflowRunner"], ()))
  assert not runner.is_dry_run(runner.parse_options(["--dry_run=True"], ()))


def test_every_flag_of_the_documentation_exists(repository, tmp_path, monkeypatch):
  text = (repository / "docs" / "runners.md").read_text()
  monkeypatch.chdir(tmp_path)
  for jar in re.findall(r"_jar=(\S+)", text):
    (tmp_path / jar).touch()
  commands = re.findall(r"data_tools\.convert (.+)", text.replace("\\\n", " "))
  assert len(commands) == 7
  for command in commands:
    given = [word for word in command.split() if word != "$ARGS"]
    own = [word for word in given if word.startswith(("--source", "--input", "--output"))]
    options = runner.parse_options([word for word in given if word not in own], ())
    assert options.get_all_options()
  known = {*runner.parse_options([], ()).get_all_options(), *OTHERS}
  named = set(re.findall(r"--([a-z][a-z_]+[a-z])", text))
  assert not named - known - {"source", "input", "output", "shards", "max_pixels", "resume"}
