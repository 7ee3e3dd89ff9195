"""Beam's options, runner and errors, made as strict as ours."""

import contextlib
import io
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from data_tools import beam_log, flags, storage, terminal
from vggtf import errors

with beam_log.silence():  # Beam warns of the absence of packages that only Google Cloud needs
  import apache_beam as beam
  from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
  )

  from data_tools import worker_processes

LOCAL_RUNNER = "FnApiRunner"
_DIRECT_NAMES = ("direct", "directrunner", "switchingdirectrunner")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_JARS = ("flink_job_server_jar", "spark_job_server_jar")
_NOT_FETCHED = re.compile(r"^Unable to fetch remote .*? at (\S+): ")  # Beam's words
_ADDRESS = re.compile(r"([\w.-]+|\[[\da-fA-F:]+\]):(\d+)")
_PAUSES = (1, 2, 3, 0)  # seconds after each try to reach a job service
_INTERRUPTED = re.compile(r"^KeyboardInterrupt\b", re.MULTILINE)
# The last line of a traceback, and its message, which for an OSError begins with its number.
_ENDED = re.compile(r"^[\w.: ]*(?:Error|Exception): (.*?)(?: \[while running .*)?$", re.MULTILINE)
_RAISED = re.compile(
  r"^vggtf\.errors\.(?P<kind>\w+): (?P<message>.*?)(?: \[while running .*)?$", re.MULTILINE
)


def parse_options(arguments: Sequence[str], own_flags: Iterable[str]) -> PipelineOptions:
  """Returns Beam's options, the runner decided.

  No runner, and DirectRunner, become FnApiRunner: DirectRunner would first download a program and
  run it, and would then ignore --direct_num_workers.

  Args:
    arguments: what our own parser left over.
    own_flags: our flags, to be suggested for misspelt ones.

  Raises:
    UsageError: Beam does not know an argument, of which it would only warn, or its value is wrong.
  """
  said = io.StringIO()
  try:
    with beam_log.silence(), contextlib.redirect_stderr(said):  # its usage text is 300 lines
      options = PipelineOptions(list(arguments))
      known = options.get_all_options()
      retained = options.get_all_options(retain_unknown_options=True)
  except SystemExit:
    raise errors.UsageError(said.getvalue().strip().rpartition("error: ")[2]) from None
  unknown = [name for name in retained if name not in known]
  names = {argument.partition("=")[0].lstrip("-") for argument in arguments}
  beam_flags = {f"--{name}" for name in known}
  flags.refuse_unknown(
    [f"--{name}" for name in unknown if name in names], {*own_flags, *beam_flags}
  )
  flags.refuse_unknown(_find_stray(arguments), ())
  level = options.view_as(WorkerOptions).default_sdk_harness_log_level
  if level and not (level.isdecimal() or level in _LEVELS):
    raise errors.UsageError(
      f"--default_sdk_harness_log_level: got {level!r}, expected one of {', '.join(_LEVELS)}"
    )
  if (workers := options.view_as(DirectOptions).direct_num_workers) < 0:
    raise errors.UsageError(
      f"--direct_num_workers: got {workers}, expected 1 or more, or 0 for one on each core"
    )
  for name in _JARS:
    if (jar := known[name]) and "://" not in jar and not os.path.isfile(jar):
      raise errors.UsageError(
        f"--{name}={jar}: there is no such file; fetch it first, see docs/runners.md"
      )
  standard = options.view_as(StandardOptions)
  if standard.runner is None or standard.runner.lower() in _DIRECT_NAMES:
    given = f"--runner={standard.runner}" if standard.runner else "no --runner"
    terminal.say(f"convert: {given}: running here, with {LOCAL_RUNNER}")
    standard.runner = LOCAL_RUNNER
  if level:
    logging.root.setLevel(int(level) if level.isdecimal() else level)
  return options


def is_dry_run(options: PipelineOptions) -> bool:
  """Returns whether the pipeline is only to be translated for Dataflow, not run."""
  return _is_dataflow(options) and options.view_as(TestOptions).dry_run


def refuse_local_paths(options: PipelineOptions, paths: Mapping[str, str]):
  """Checks that Dataflow's workers, which share no disk with this machine, can reach the data.

  Args:
    options: Beam's.
    paths: of the input and the output, by their flags.

  Raises:
    UsageError: one of them is local.
  """
  for flag, path in paths.items():
    if _is_dataflow(options) and not storage.is_remote(path):
      raise errors.UsageError(
        f"{flag}={path}: Dataflow's workers cannot reach it; expected a path in a bucket, as "
        "gs://bucket/name"
      )


def run(options: PipelineOptions, build: Callable[[beam.Pipeline], None]):
  """Builds a pipeline and runs it to its end.

  Raises:
    UsageError: the runner is unknown or misses an option.
    EnvironmentFault: the runner's packages are not installed, or its job service is missing.
    VggtfError: what a worker raised, with its own type and message.
    KeyboardInterrupt: Ctrl-C, wherever it arrived.
  """
  try:
    local = options.view_as(StandardOptions).runner == LOCAL_RUNNER
    pipeline = beam.Pipeline(worker_processes.make_runner(options) if local else None, options)
  except ValueError as error:
    raise errors.UsageError(f"Beam refuses the options: {' '.join(str(error).split())}") from None
  except ImportError as error:
    raise errors.EnvironmentFault(f"Beam misses a package for this runner: {error}") from None
  if not local:
    _await_job_service(options.view_as(PortableOptions).job_endpoint or "")
  held = beam_log.HeldErrors()
  beam_log.print_nothing()
  with held.hold() if _is_final(options) else contextlib.nullcontext():
    try:
      build(pipeline)
      with worker_processes.watch():
        pipeline.run().wait_until_finish()
    except KeyboardInterrupt:
      held.forget()
      raise
    except Exception as error:
      if recovered := recover(error):
        held.forget()
        raise recovered from error
      raise


def recover(error: Exception) -> errors.VggtfError | KeyboardInterrupt | None:
  """Returns what lies behind a runner's error, or None if that is a bug.

  Runners pass an exception of a worker on as it is, with a suffix, or as the text of a traceback;
  Ctrl-C in the middle of a call into C becomes a RuntimeError.
  """
  if isinstance(error, RuntimeError) and _INTERRUPTED.search(str(error)):
    return KeyboardInterrupt()
  if "Channel closed prematurely" in str(error):  # FnApiRunner's words for a worker that is gone
    return errors.EnvironmentFault(worker_processes.DIED)
  if missing := _NOT_FETCHED.search(str(error)):
    return errors.EnvironmentFault(
      f"Beam cannot fetch its job server {missing[1]}; fetch it where there is a network, and name "
      "it with --flink_job_server_jar, --spark_job_server_jar or --prism_location"
    )
  if isinstance(error, NotImplementedError) and "--job_endpoint" in str(error):
    return errors.UsageError(
      "--job_endpoint is missing: expected a job service's HOST:PORT, or embed"
    )
  if isinstance(error, errors.VggtfError):
    kind, message = type(error), re.sub(r" \[while running .*", "", str(error), flags=re.DOTALL)
  else:
    raised = list(_RAISED.finditer(str(error)))
    ended = _ENDED.findall(str(error))[-1:]
    if raised:
      kind, message = getattr(errors, raised[-1]["kind"]), raised[-1]["message"]
    elif ended and ended[0].startswith("[Errno "):
      kind, message = errors.EnvironmentFault, ended[0]  # as vggtf.errors says of our own process
    else:
      return None
  return kind(message)


def _is_dataflow(options: PipelineOptions) -> bool:
  name = options.view_as(StandardOptions).runner
  return name.lower().removesuffix("runner") == "dataflow"


def _await_job_service(endpoint: str):
  """Waits up to ten seconds for it to answer; Beam would wait for five minutes.

  What is no host with a port is left to Beam: "embed", or another of gRPC's schemes.

  Raises:
    EnvironmentFault: nobody answers.
  """
  if not (address := _ADDRESS.fullmatch(endpoint)):
    return
  for pause in _PAUSES:
    try:
      socket.create_connection((address[1].strip("[]"), int(address[2])), timeout=1).close()
      return
    except (OSError, OverflowError) as error:  # OverflowError: no such port
      reason = error
    time.sleep(pause)
  raise errors.EnvironmentFault(
    f"no job service answers at --job_endpoint={endpoint} ({reason}): start one there, or one "
    "within this process with --job_endpoint=embed"
  )


def _is_final(options: PipelineOptions) -> bool:
  """Whether an error ends the job, so that it need not be told before the end."""
  if options.view_as(WorkerOptions).default_sdk_harness_log_level:
    return False
  portable = options.view_as(PortableOptions)
  return (
    options.view_as(StandardOptions).runner == LOCAL_RUNNER
    or portable.job_endpoint == "embed"
    or portable.environment_type == "LOOPBACK"
  )


def _find_stray(arguments: Sequence[str]) -> list[str]:
  """A word is a value only behind a flag without "="."""
  stray, takes_value = [], False
  for argument in arguments:
    is_flag = argument.startswith("--")
    if not is_flag and not takes_value:
      stray.append(argument)
    takes_value = is_flag and "=" not in argument
  return stray
