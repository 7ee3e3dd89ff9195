"""--job=tables: tables 3 to 6 of the paper, what was measured here beside it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vggtf import errors
from vggtf import workdir as workdirs
from vggtf.reports import answers, formats, fusion, measurement, tables

_log = logging.getLogger(__name__)


def run(
  files: list[str],
  target: str | None = None,
  data_dir: str | None = None,
  measure: Sequence[str] = (),
) -> None:
  """Prints the tables, or writes them to a file.

  Args:
    files: folders of runs. Measurements that none has are left out.
    target: .txt, .md, .tex, .csv or .json; text is printed without it.
    data_dir: what is measured on; what each net was trained on by default.
    measure: gin files of protocols, such as "gin/eval/combined.gin", that are run on each net
      first, unless that was done; equal protocols of several nets are then fused.
  """
  runs = [workdirs.Workdir(path) for path in files]
  for one in runs:
    one.read_facts()  # it is a run
  suffix = Path(target).suffix if target else ".txt"
  write = errors.choose("the suffix of --target", suffix, formats.OF_SUFFIX)
  for one in runs:
    for protocol in measure:
      _measure(one, protocol, data_dir)
  if measure and len(runs) > 1:
    _fuse(runs)
  text = write(tables.gather(line for one in runs for line in one.read_results()))
  if target:
    workdirs.write_text(Path(target), text)
    print(target)
  else:
    print(text, end="")


def _measure(run: workdirs.Workdir, protocol: str, data_dir: str | None) -> None:
  """Evaluates in a process of its own, which has the run's own configuration."""
  command = [sys.executable, "-m", "vggtf.main", "--job=evaluate", f"--workdir={run.path}"]
  command += [f"--gin_file={protocol}", "--gin_param=evaluate.run.repeat = False"]
  command += ["--gin_param=evaluate.run.posteriors = True"]
  command += [f"--data_dir={data_dir}"] if data_dir else []
  code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
  if code:
    kinds = {kind.exit_code: kind for kind in errors.VggtfError.__subclasses__()}
    raise kinds.get(code, errors.VggtfError)(
      f"{protocol} of {run.path} ended with {code}; its own message is above"
    )


def _fuse(runs: Sequence[workdirs.Workdir]) -> None:
  """Fuses what the runs' nets said by one protocol at several scales, as table 6 does."""
  groups: dict[tuple, dict[Path, dict]] = {}
  for run in runs:
    for line in measurement.newest(run.read_results()):
      (net, *others) = line["nets"]
      views = measurement.views(net)
      looks = frozenset((view.technique, view.options, view.share) for view in views)
      protocol = looks, line["split"], line["data_sha256"], line["remark"]
      own = net["run"] == line["run"]  # an evaluation of several nets measures each of them, too
      several = len({view.scale for view in views}) > 1
      if own and not others and several and all(view.known for view in views):
        groups.setdefault(protocol, {})[run.path] = line  # the newest of each run
  known = {line["details"] for line in measurement.newest(runs[0].read_results())}
  for of_run in groups.values():
    lines = list(of_run.values())
    if len(lines) == len(runs) and fusion.describe(lines)["details"] not in known:
      files = [p / answers.FOLDER / line["details"] / answers.NAME for p, line in of_run.items()]
      kept = [answers.load(path) for path in files]
      if any(one.answers.posteriors is None for one in kept):
        _log.warning("%s is not fused: not all its posteriors were kept", lines[0]["protocol"])
        continue
      fusion.keep(runs[0], fusion.fuse(kept, [str(path) for path in files]))
