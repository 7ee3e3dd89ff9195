"""--job=replay --workdir=RUN --target=NEW: trains a run once more, from its run.json alone.

What differs between the machine then and now is said first; the last checkpoints are compared
bit for bit at the end.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence

from vggtf import children, errors
from vggtf import workdir as workdirs
from vggtf.data import shards
from vggtf.training import checkpoint, cluster, restoring, surroundings
from vggtf.training import strategy as strategies

_log = logging.getLogger(__name__)
_PROGRAM = (sys.executable, "-m", "vggtf.main")
# Of a sitting, what is needed to repeat it.
_NEEDED = {"configuration_sha256", "first_step", "workers", "replicas", "threads", "variables"}


def run(
  workdir: str,
  target: str,
  command_line: Sequence[str],
  data_dir: str | None = None,
  program: Sequence[str] = _PROGRAM,
) -> int:
  """Repeats a finished training in another folder; the same command goes on with a broken-off one.

  A run of several workers is repeated by as many processes of this machine.

  Args:
    workdir: the run's folder; only its run.json and its last checkpoint are read.
    target: the folder to train in.
    command_line: the flags of this command, which the training is given too: --gin_allow_import
      where the configuration needs it.
    data_dir: where the same data are now; None looks where they were.
    program: what trains.

  Returns:
    0 where all variables have the same bits, or the exit code of a training that failed, or was
    stopped by a signal to this process: 42, where it saved a checkpoint.

  Raises:
    UsageError: run.json does not describe one finished training, the data are others, or the
      target holds another run.
    IntegrityError: the variables differ, or run.json is damaged.
  """
  folder, copy = workdirs.Workdir(workdir), workdirs.Workdir(target)
  if folder.path.resolve() == copy.path.resolve():
    raise errors.UsageError(f"--target={target} is the run itself; expected another folder")
  if any(path.is_file() for path in (copy.path, *copy.path.parents)):
    raise errors.UsageError(f"--target={target} is a file or lies below one; expected a folder")
  facts, described = folder.read_facts(), folder.read_description()
  step = _check_repeatable(folder, described)
  data_dir = data_dir or facts.data_dir
  if shards.read_manifest(data_dir).sha256() != facts.manifest_sha256:
    raise errors.UsageError(
      f"{data_dir} holds other data than the run in {workdir} was trained on; give those with "
      "--data_dir"
    )
  last = described["sittings"][-1]
  differences = _compare(described["sittings"])
  for line in differences:
    _log.warning("other than in the run: %s", line)
  flags = ["--job=train"]
  folders = [copy]
  if last["workers"]:
    flags = ["--job=launch", f"--workers={last['workers']}"]
    folders += [copy.of_worker(index) for index in range(1, last["workers"])]
  for each in folders:
    _configure(each, described["configuration"]["text"])
  flags += [f"--data_dir={data_dir}", f"--workdir={target}"]  # of equal flags the last counts
  code = _train([*program, *command_line, *flags], _environment(last))
  if code == 0:
    _judge((folder, copy), step, differences)
  return code


def _train(command: Sequence[str], environment: dict[str, str]) -> int:
  """Runs a training, passes the signals on that come, and returns its exit code."""
  with children.signals() as signals:
    process = children.start(command, env=environment)
    while (code := children.exit_code(process)) is None:
      while signals:
        process.send_signal(signals.pop(0))
      time.sleep(children.POLL_EVERY)
  return code


def _check_repeatable(folder: workdirs.Workdir, described: dict) -> int:
  """Returns the run's last step."""
  sittings = described.get("sittings")
  if not sittings:
    raise errors.UsageError(
      f"{folder.facts} does not say how {folder.path} was trained: it was imported, or trained by "
      "an older version"
    )
  if not {"configuration", "steps"} <= described.keys() or any(
    not isinstance(sitting, dict) or _NEEDED - sitting.keys() for sitting in sittings
  ):
    raise errors.IntegrityError(
      f"{folder.facts} is damaged: it does not say all that a replay needs; restore it from a copy"
    )
  if len({sitting["configuration_sha256"] for sitting in sittings}) > 1:
    at = ", ".join(str(sitting["first_step"]) for sitting in sittings[1:])
    raise errors.UsageError(
      f"the run in {folder.path} went on with another configuration (it was started again at step "
      f"{at}), so no one configuration repeats it"
    )
  step = checkpoint.Checkpoints(folder.checkpoints).find("latest")
  if step != described["steps"]:
    raise errors.UsageError(
      f"the run in {folder.path} has not ended: it holds step {step} of {described['steps']}; "
      "train it to its end first"
    )
  return step


def _configure(folder: workdirs.Workdir, text: str) -> None:
  if folder.config.exists() and folder.config.read_text() != text:
    raise errors.UsageError(
      f"{folder.path} holds a run of another configuration; give another --target"
    )
  workdirs.write_text(folder.config, text)


def _environment(sitting: dict) -> dict[str, str]:
  """Returns this process's environment, with the run's where that changes bits."""
  others = {name: one for name, one in os.environ.items() if not surroundings.matters(name)}
  others.pop(cluster.VARIABLE, None)
  return others | sitting["variables"] | surroundings.fix_threads(sitting["threads"])


def _compare(sittings: Sequence[dict]) -> list[str]:
  """Returns what is other here than in any of the run's sittings."""
  given = ("variables", "threads", "workers", "replicas")  # to the training, as in the last
  here = surroundings.describe(strategies.one_device())
  here |= {name: sittings[-1][name] for name in given}
  told = [line for sitting in sittings for line in surroundings.compare(sitting, here)]
  return list(dict.fromkeys(told))


def _judge(folders: Sequence[workdirs.Workdir], step: int, differences: Sequence[str]) -> None:
  sums = []
  for folder in folders:
    checkpoints = checkpoint.Checkpoints(folder.checkpoints)
    sums.append(restoring.digest(checkpoints.prefix(step)))
    print(f"{sums[-1]}  all variables of step {step} in {folder.path}")
  if len(set(sums)) > 1:
    cause = "; ".join(differences) or "nothing that is recorded differs"
    raise errors.IntegrityError(
      f"the replay ended with other bits than the run; since then: {cause}"
    )
