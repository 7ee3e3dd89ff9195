"""--job=verify: whether an export is still what was measured."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import tensorflow as tf

from vggtf import errors
from vggtf import workdir as workdirs
from vggtf.export import answers, golden, integrity
from vggtf.training import committed


def run(export: str, workdir: str | None = None) -> None:
  """Checks every file of an export, asks it its golden requests again, and prints what was found.

  Args:
    export: the folder of a version.
    workdir: the run that it was made from, whose checkpoint and data are compared too; by default
      that in whose folder the export lies, if it does.

  Raises:
    UsageError: a folder is no export, or no run's.
    IntegrityError: something is not as it was.
  """
  if "://" in export:
    raise errors.UsageError(
      f"--export={export}: an export is verified where it is local or mounted; copy it from the "
      "bucket first"
    )
  folder = Path(export)
  origin = integrity.check(folder)
  print(f"files         as exported: {integrity.size(folder) / 1e6:,.1f} MB")
  logs = list(golden.read(folder))
  loaded = tf.saved_model.load(export).signatures
  worst = answers.check(loaded, logs, origin["tolerance"])
  print(f"answers       those of the evaluated net ({origin['protocol']}), within {worst:.1g}")
  above = (folder.resolve() / "../../..").resolve()  # <run>/export/<predictor>/<version>
  if workdir is None and workdirs.Workdir(str(above)).facts.exists():
    workdir = str(above)
  if workdir is None:
    print("origin        not looked at: give the run's --workdir")
    return
  trace(workdirs.Workdir(workdir), origin)


def trace(run_: workdirs.Workdir, origin: dict[str, Any]) -> None:
  """Compares digests of checkpoints, configuration and data with those of the run, and prints.

  Args:
    run_: where they lie now; what is gone is not compared.
    origin: what an export keeps of them.

  Raises:
    IntegrityError: one is another.
  """
  facts = run_.read_facts()
  for number, checkpoint in enumerate(origin["checkpoints"]):
    name = f"step-{checkpoint['step']:08d}"
    # The run's own comes first (export.py); another run's folder may have the same name.
    if number or checkpoint["run"] != run_.name:
      print(f"checkpoint    {name} of {checkpoint['run']}: not looked at, it is another run's")
    else:
      _compare("checkpoint", run_.checkpoints / name / "COMMIT.json", checkpoint["sha256"])
      _check_state(run_.checkpoints / name)
  _compare("configuration", run_.config, origin["configuration_sha256"])
  if facts.manifest_sha256 != origin["data_manifest_sha256"]:
    raise errors.IntegrityError(
      f"{run_.path} was trained on other data than the exported net; give the --workdir of the run "
      "that it is from"
    )
  if facts.manifest_sha256:  # weights from elsewhere come without data
    _compare("data", f"{facts.data_dir}/manifest.json", facts.manifest_sha256)


def _check_state(folder: Path) -> None:
  """Raises IntegrityError where a checkpoint is there, but not as its list of digests says."""
  problem = committed.find_problem(folder) if folder.exists() else None
  if problem:
    raise errors.IntegrityError(f"{folder} is damaged ({problem}); restore it from a copy")


def _compare(what: str, path: Path | str, expected: str) -> None:
  """Prints that a file is the one that was exported from, or that it is gone."""
  if not tf.io.gfile.exists(str(path)):
    print(f"{what:13} not looked at: {path} is gone")
    return
  with tf.io.gfile.GFile(str(path), "rb") as file:
    found = hashlib.sha256(file.read()).hexdigest()
  if found != expected:
    raise errors.IntegrityError(
      f"{path} is not the {what} that was exported; export again, or restore it from a copy"
    )
  print(f"{what:13} {path}: the one that was exported")
