"""Beam's local runner with worker processes that are quiet, know its options and are missed."""

import contextlib
import shlex
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Iterator

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.job.utils import dict_to_struct
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner.fn_runner import (
  ExtendedProvisionInfo,
  FnApiRunner,
)
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
  SubprocessSdkWorkerHandler,
  WorkerHandler,
)
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from vggtf import errors

DIED = (
  "a worker process died: killed, or out of memory; run again, with fewer --direct_num_workers if "
  "memory is short"
)
_PATIENCE = 10.0  # seconds in which Beam notices by itself that a worker at work is gone
_FAREWELL = 5.0  # seconds in which a worker ends by itself, once it is told that the run is over
_WORKER_THREAD = "run_worker"
# They end with the connection to a worker; Beam tells the main thread of it, too.
_READING_THREADS = ("read_grpc_client_inputs", "beam_control_read")


def make_runner(options: PipelineOptions) -> FnApiRunner:
  """Returns the local runner; with --direct_running_mode=multi_processing it starts our workers."""
  direct = options.view_as(DirectOptions)
  if direct.direct_running_mode != "multi_processing":
    return FnApiRunner()
  given = options.get_all_options(drop_default=True)
  direct.direct_running_mode = None  # or it would put its own command into the place of ours
  # As text: a Struct keeps whole numbers as 2.0, which a worker's own parser refuses.
  told = {name: str(value) if type(value) is int else value for name, value in given.items()}
  provided = beam_provision_api_pb2.ProvisionInfo(pipeline_options=dict_to_struct(told))
  # A terminal sends Ctrl-C to the workers too, who would each tell of it: it is for us alone.
  command = f"trap '' INT; exec {shlex.quote(sys.executable)} -m data_tools.beam_worker"
  return FnApiRunner(
    SubprocessSDKEnvironment.from_command_string(command),
    provision_info=ExtendedProvisionInfo(provided),
  )


_started: list[subprocess.Popen] = []


def _start(*arguments, **options) -> subprocess.Popen:
  _started.append(subprocess.Popen(*arguments, **options))
  return _started[-1]


local_job_service.subprocess = types.SimpleNamespace(Popen=_start)  # or nobody knew the processes


@WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class _WorkerHandler(SubprocessSdkWorkerHandler):
  """Ends its worker; Beam would wait for ever for one that has not begun when a run is over."""

  def stop_worker(self):
    if not hasattr(self, "worker_thread"):  # interrupted before
      return
    self.worker_thread.join(_FAREWELL)
    if self.worker_thread.is_alive():
      for process in _started:
        process.kill()
    self.worker_thread.join()


@contextlib.contextmanager
def watch() -> Iterator[None]:
  """Ends a block, run by the main thread, that waits for a worker process which did not start.

  Beam waits for it for ever.

  Raises:
    EnvironmentFault: a worker process has ended, and the block had not within 10 seconds.
  """
  timers: list[threading.Timer] = []
  interrupted = threading.Event()

  def interrupt():
    interrupted.set()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

  def notice(arguments: threading.ExceptHookArgs):
    name = arguments.thread.name if arguments.thread else ""
    if name.startswith(_READING_THREADS):
      return
    if name != _WORKER_THREAD:
      before(arguments)
    elif not timers:
      timers.append(threading.Timer(_PATIENCE, interrupt))
      timers[0].daemon = True
      timers[0].start()

  before, threading.excepthook = threading.excepthook, notice
  try:
    yield
  except KeyboardInterrupt:
    if interrupted.is_set():
      raise errors.EnvironmentFault(DIED) from None
    raise
  finally:
    threading.excepthook = before
    for timer in timers:
      timer.cancel()
