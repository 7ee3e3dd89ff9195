"""Worker processes of Beam's local runner: what they are told, and that a missing one is missed."""

import os
import signal
import subprocess
import sys
import threading
import time

import apache_beam as beam
import pytest

from data_tools import runner, worker_processes
from vggtf import errors


def tell(element):
  from apache_beam.io.filesystems import FileSystems
  from apache_beam.options.pipeline_options import GoogleCloudOptions

  if FileSystems._pipeline_options.view_as(GoogleCloudOptions).project != element:
    raise errors.IntegrityError("the worker was not told")


def test_workers_are_told_the_options():
  given = ["--direct_running_mode=multi_processing", "--direct_num_workers=2", "--project=mine"]
  runner.run(runner.parse_options(given, ()), lambda p: p | beam.Create(["mine"]) | beam.Map(tell))


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading"])
def test_other_modes_are_beams_own(mode):
  options = runner.parse_options([f"--direct_running_mode={mode}"], ())
  assert type(worker_processes.make_runner(options)) is worker_processes.FnApiRunner
  assert options.get_all_options()["direct_running_mode"] == mode


def test_hook_for_threads_is_given_back():
  before = threading.excepthook
  with worker_processes.watch():
    assert threading.excepthook is not before
  assert threading.excepthook is before


def test_worker_that_has_not_begun_does_not_hold_up_an_interrupt(monkeypatch, tmp_path):
  never = tmp_path / "never"
  never.write_text("#!/bin/sh\nexec sleep 600\n")
  never.chmod(0o700)
  monkeypatch.setattr(worker_processes.sys, "executable", str(never))
  monkeypatch.setattr(worker_processes, "_FAREWELL", 0.1)
  options = runner.parse_options(["--direct_running_mode=multi_processing"], ())
  main = threading.main_thread().ident
  timer = threading.Timer(2, lambda: signal.pthread_kill(main, signal.SIGINT))
  timer.start()
  with pytest.raises(KeyboardInterrupt):
    runner.run(options, lambda p: p | beam.Create(["x"]) | beam.Map(str))
  timer.join()


@pytest.mark.parametrize("mode", ["multi_processing", "multi_threading"])
def test_interrupt_from_a_terminal_is_quiet(mode, pictures, tmp_path, repository):
  flags = [f"--input={pictures}", f"--output={tmp_path / 'out'}", "--shards=train=8,validation=8"]
  flags += ["--scales=2000", f"--direct_running_mode={mode}", "--direct_num_workers=2"]
  with subprocess.Popen(
    [sys.executable, "-m", "data_tools.convert", *flags],
    cwd=repository,
    stderr=subprocess.PIPE,
    start_new_session=True,
  ) as process:
    while not list(tmp_path.glob("out.incomplete/scale_2000/*")):
      assert process.poll() is None
      time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.stderr.read().decode()
  assert process.returncode == 130
  assert said == "convert: no --runner: running here, with FnApiRunner\n"


@pytest.mark.slow
def test_worker_that_does_not_start_ends_the_run(monkeypatch):
  monkeypatch.setattr(worker_processes.sys, "executable", "/bin/false")
  options = runner.parse_options(["--direct_running_mode=multi_processing"], ())
  with pytest.raises(errors.EnvironmentFault, match="a worker process died"):
    runner.run(options, lambda p: p | beam.Create(["x"]) | beam.Map(str))
