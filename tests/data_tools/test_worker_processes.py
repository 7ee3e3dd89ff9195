"""Worker processes of Beam's local runner: what they are told, and that a missing one is missed."""

import threading

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


@pytest.mark.slow
def test_worker_that_does_not_start_ends_the_run(monkeypatch):
  monkeypatch.setattr(worker_processes.sys, "executable", "/bin/false")
  options = runner.parse_options(["--direct_running_mode=multi_processing"], ())
  with pytest.raises(errors.EnvironmentFault, match="a worker process died"):
    runner.run(options, lambda p: p | beam.Create(["x"]) | beam.Map(str))
