"""Beam's options, runner and errors, made as strict as ours."""

import contextlib
import io
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from data_tools import flags
from vggtf import errors


@contextlib.contextmanager
def _silence() -> Iterator[None]:
  before = logging.root.manager.disable
  logging.disable(logging.WARNING)
  try:
    yield
  finally:
    logging.disable(before)


with _silence():  # Beam warns of the absence of packages that only Google Cloud needs
  import apache_beam as beam
  from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

LOCAL_RUNNER = "FnApiRunner"
_DIRECT_NAMES = ("direct", "directrunner", "switchingdirectrunner")
_INTERRUPTED = re.compile(r"^KeyboardInterrupt\b", re.MULTILINE)
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
    with _silence(), contextlib.redirect_stderr(said):  # its usage text is 300 lines
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
  standard = options.view_as(StandardOptions)
  if standard.runner is None or standard.runner.lower() in _DIRECT_NAMES:
    given = f"--runner={standard.runner}" if standard.runner else "no --runner"
    print(f"convert: {given}: running here, with {LOCAL_RUNNER}", file=sys.stderr)
    standard.runner = LOCAL_RUNNER
  if standard.runner == LOCAL_RUNNER:
    # Its errors reach us as exceptions; its log would print each traceback once more.
    logging.getLogger("apache_beam.runners").setLevel(logging.CRITICAL)
  return options


def run(options: PipelineOptions, build: Callable[[beam.Pipeline], None]):
  """Builds a pipeline and runs it to its end.

  Raises:
    UsageError: the runner is unknown or misses an option.
    EnvironmentFault: the runner's packages are not installed.
    VggtfError: what a worker raised, with its own type and message.
    KeyboardInterrupt: Ctrl-C, wherever it arrived.
  """
  try:
    pipeline = beam.Pipeline(options=options)
  except ValueError as error:
    raise errors.UsageError(f"Beam refuses the options: {' '.join(str(error).split())}") from None
  except ImportError as error:
    raise errors.EnvironmentFault(f"Beam misses a package for this runner: {error}") from None
  try:
    build(pipeline)
    pipeline.run().wait_until_finish()
  except Exception as error:
    if recovered := recover(error):
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
    return errors.EnvironmentFault(
      "a worker process died: killed, or out of memory; run again, with fewer --direct_num_workers "
      "if memory is short"
    )
  if isinstance(error, errors.VggtfError):
    kind, message = type(error), re.sub(r" \[while running .*", "", str(error), flags=re.DOTALL)
  else:
    raised = list(_RAISED.finditer(str(error)))
    if not raised:
      return None
    kind = getattr(errors, raised[-1]["kind"])
    message = raised[-1]["message"]
  return kind(message)


def _find_stray(arguments: Sequence[str]) -> list[str]:
  """A word is a value only behind a flag without "="."""
  stray, takes_value = [], False
  for argument in arguments:
    is_flag = argument.startswith("--")
    if not is_flag and not takes_value:
      stray.append(argument)
    takes_value = is_flag and "=" not in argument
  return stray
