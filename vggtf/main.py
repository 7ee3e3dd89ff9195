"""The command line: `python -m vggtf.main --gin_file=gin/vgg16.gin --data_dir=... --workdir=...`.

Flags say where and which job; everything else is gin's. A job is a module of vggtf/jobs with a
`run()`, found by its name and given the flags that it takes.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import gc
import importlib.util
import inspect
import logging
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from types import ModuleType

from absl import app, flags

from vggtf import config, errors, jobs, workdir
from vggtf.training import cluster, stopping

_GIN_FILE = flags.DEFINE_multi_string(
  "gin_file", [], "Configuration; may be given several times, later files win. After training, the "
  "other jobs read the run's own from --workdir first."
)  # fmt: skip
_GIN_PARAM = flags.DEFINE_multi_string(
  "gin_param", [], "One binding, such as 'VGG.width = 0.5'; wins over files."
)
flags.DEFINE_alias("gin_bindings", "gin_param")
flags.DEFINE_alias("gin_params", "gin_param")
_GIN_SEARCH_PATHS = flags.DEFINE_list(
  "gin_search_paths", [], "Folders where gin files are looked for before those of vggtf."
)
_GIN_ALLOW_IMPORT = flags.DEFINE_multi_string(
  "gin_allow_import", [], "A module, with all inside it, that gin files may import: this runs it."
)
_JOB = flags.DEFINE_string("job", "train", "What to do: a module of vggtf/jobs.")
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "The run's folder: checkpoints, logs, results, exports."
)
_ALLOW_CONFIG_CHANGE = flags.DEFINE_bool(
  "allow_config_change", False, "Resume training although the configuration is another."
)
_REQUIRE_CHECKPOINT = flags.DEFINE_bool(
  "require_checkpoint", False, "Only go on with a training: exit code 4 where it would begin."
)
_SOURCE = flags.DEFINE_string("source", None, "Weights to read: a file, or a run's folder.")
_TARGET = flags.DEFINE_string(
  "target", None, "Where to write them; the suffix names the format. Or a folder (replay, export)."
)
_EXPORT = flags.DEFINE_string("export", None, "An exported version, for --job=verify.")
_OUTPUT = flags.DEFINE_string("output", None, "The page of --job=report.")
_HEATMAP = flags.DEFINE_string(
  "heatmap", None, "A folder for --job=predict: where in each picture its class is seen."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what was exported before.")
_PROFILE_STEPS = flags.DEFINE_string(
  "profile_steps", None, "Steps that TensorFlow's profiler records for TensorBoard: 100:110."
)
_WORKERS = flags.DEFINE_integer("workers", None, "How many processes --job=launch starts.")
_RESTARTS = flags.DEFINE_integer("restarts", 3, "How often it starts them again at most.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "A set made by python -m data_tools.convert.")


# Flags that say where to read or write: a job that ignored one would do it elsewhere. A training's
# other flags may be left where its command line is tried with another job, such as plan.
_PLACES = ("source", "target", "export", "output", "heatmap", "overwrite")
_BEGINS = ("train", "launch", "predict")  # jobs whose --workdir need not hold a run yet


def cli() -> int:
  """Runs the command line in sys.argv; returns the exit code (vggtf/errors.py)."""
  try:
    code = errors.run_command(main)
  except Exception:
    traceback.print_exc()
    code = 1
  # A failure's frames hold iterators, which wait for readers in Python as they go: now it runs.
  gc.collect()
  if code and cluster.VARIABLE in os.environ:  # TensorFlow would wait for the other processes first
    for stream in (sys.stdout, sys.stderr):
      stream.flush()
    os._exit(code)
  return code


def main() -> int | None:
  """Runs the command line in sys.argv; returns the job's exit code and raises its errors."""
  positional = _parse_flags(sys.argv)
  run = _job(_JOB.value)
  read_configuration = functools.cache(functools.partial(_read_configuration, run.__module__))
  arguments = _arguments(run, positional, read_configuration)
  if "workdir" in arguments and _JOB.value not in _BEGINS:
    workdir.Workdir(_WORKDIR.value).read_facts()  # raises where it is no run's folder
  if "command_line" in arguments:  # it starts other commands, which read the configuration
    return run(**arguments)
  if _GIN_FILE.value or _GIN_PARAM.value or config.unbound(run, list(arguments)):
    read_configuration()
  if missing := config.unbound(run, list(arguments)):
    raise errors.UsageError(
      f"--job={_JOB.value} needs {', '.join(missing)}: give a configuration, such as "
      "--gin_file=gin/vgg16.gin"
    )
  try:
    return config.configured(run)(**arguments)
  except Exception as error:
    tensorflow = sys.modules.get("tensorflow")
    if not tensorflow or not isinstance(error, tensorflow.errors.ResourceExhaustedError):
      raise
    raise errors.EnvironmentFault(
      f"out of memory ({error.message.splitlines()[0]}); ask for smaller or fewer pictures at a "
      "time, or take a machine with more"
    ) from error


def _parse_flags(argv: list[str]) -> list[str]:
  """Returns the positional arguments."""
  app.define_help_flags()
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%H:%M:%S"))
  ours = logging.getLogger("vggtf")  # a logger of our own: absl's is full of TensorFlow's notes
  ours.addHandler(handler)
  ours.setLevel(logging.INFO)
  ours.propagate = False
  try:
    return flags.FLAGS([_spell_out(argument) for argument in argv])[1:]
  except flags.Error as error:
    raise errors.UsageError(f"{error} (--help lists the flags)") from None
  except SystemExit:  # absl leaves with 1 after --help
    raise SystemExit(0) from None


def _spell_out(argument: str) -> str:
  """Returns --gin.NAME=VALUE, T5X's short form, as the flag that it means."""
  return re.sub(r"^--?gin\.(?=[^=]+=)", "--gin_param=", argument)


def _job(name: str):
  """Returns the run() of vggtf/jobs/<name>.py."""
  known = sorted(module.name for module in pkgutil.iter_modules(jobs.__path__))
  if name not in known:
    close = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise errors.UsageError(f"--job={name} is unknown; known: {', '.join(known)}.{hint}")
  # TensorFlow leaves oneDNN off on CPUs without AVX-512: VGG-16's step then takes 1.3 times as long
  # (docs/performance.md). Read once, when TensorFlow is imported.
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
  # Read then too: the Keras that TensorFlow Addons needs (vggtf/addons.py). Nothing else uses any.
  if importlib.util.find_spec("tf_keras"):
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
  with _quiet_start(), stopping.kept_handler():
    run = importlib.import_module(f"vggtf.jobs.{name}").run
    if tensorflow := sys.modules.get("tensorflow"):
      tensorflow.config.list_physical_devices()  # looks for GPUs, and says so
  return run


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
  """Hides the notes that TensorFlow's libraries print while they load, whatever the log level.

  TF_CPP_MIN_LOG_LEVEL=0 shows them.
  """
  if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0":
    yield
    return
  stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, 2)
  try:
    yield
  finally:
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(nowhere)


def _read_configuration(job: str) -> ModuleType:
  """Reads the configuration that was given or kept; returns what knows it.

  Args:
    job: its module's name.
  """
  config.parse(
    _GIN_FILE.value,
    _GIN_PARAM.value,
    [job],
    _GIN_ALLOW_IMPORT.value,
    _GIN_SEARCH_PATHS.value,
    _kept_configuration(),
  )
  return config


def _kept_configuration() -> str | None:
  """Returns the run's own: what was trained is what is evaluated and exported.

  Training reads it only where no other is given, which is how a run is resumed by its folder.
  """
  if _WORKDIR.value and (_JOB.value != "train" or not _GIN_FILE.value):
    own = workdir.Workdir(_WORKDIR.value).config
    if own.exists():
      return str(own)
  return None


def _arguments(run, positional: list[str], read_configuration: Callable[[], ModuleType]) -> dict:
  """Returns those of the flags that the job takes, and raises UsageError for what it lacks.

  Args:
    run: the job's.
    positional: files.
    read_configuration: for jobs that read the configuration only if they need it.
  """
  takes = inspect.signature(run).parameters
  given = {
    "workdir": _WORKDIR.value,
    "data_dir": _DATA_DIR.value,
    "files": positional or None,
    "configuration": config,
    "read_configuration": read_configuration,
    "allow_config_change": _ALLOW_CONFIG_CHANGE.value,
    "require_checkpoint": _REQUIRE_CHECKPOINT.value,
    "source": _SOURCE.value,
    "target": _TARGET.value,
    "export": _EXPORT.value,
    "output": _OUTPUT.value,
    "heatmap": _HEATMAP.value,
    "overwrite": _OVERWRITE.value,
    "profile_steps": _PROFILE_STEPS.value,
    "workers": _WORKERS.value,
    "restarts": _RESTARTS.value,
    "command_line": sys.argv[1:],
  }
  if positional and "files" not in takes:
    raise errors.UsageError(
      f"--job={_JOB.value} takes no files, but {' '.join(positional)!r} was given; flags need --"
    )
  if flags.FLAGS["job"].present < 2:  # launch and replay put a job behind their own flags
    for name in _PLACES:
      if flags.FLAGS[name].present and name not in takes:
        raise errors.UsageError(f"--job={_JOB.value} has no use for --{name}: leave it out")
  arguments = {name: value for name, value in given.items() if name in takes and value is not None}
  for name in given:
    if name in takes and name not in arguments and takes[name].default is inspect.Parameter.empty:
      flag = "files or folders as arguments" if name == "files" else f"--{name}"
      raise errors.UsageError(f"--job={_JOB.value} needs {flag}")
  return arguments


if __name__ == "__main__":
  sys.exit(cli())
