"""A run's folder: what is in it and where. The only place that spells these names.

config.gin            the configuration, whole; the other jobs read it from here
operative_config.gin  what was really called, defaults included
initial.txt           where the first weights came from, if not from the initialiser alone
run.json              what the data decided: classes, labels, mean RGB; which data that was. And all
                      that --job=replay needs: configuration, seed, and where each sitting ran
checkpoints/          step-00000100/ ...
logs/                 TensorBoard: train, validation
results.jsonl         one measurement a line
evaluations/          answers to single images (vggtf/reports/answers.py)
owner.json            locked by the process that trains; whose it is, or was last
export/               <predictor>/<version>/: SavedModels
report.html           the run as a page
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from vggtf import errors, results
from vggtf import owner as owners

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunFacts:
  """What a run's data decided, kept so that later jobs need the data no more.

  labels: readable class names in label order. mean_rgb: levels of 0..255. data_dir and
  manifest_sha256: the set that was trained on; splits, rejected: how its images are accounted for.
  """

  labels: tuple[str, ...]
  mean_rgb: tuple[float, ...]
  data_dir: str
  manifest_sha256: str
  splits: dict[str, int]
  rejected: dict[str, int]
  schema_version: int = 1


class Workdir:
  """Paths of a run and its small text files. Local or mounted: checkpoints rely on rename."""

  def __init__(self, path: str):
    if "://" in path:
      raise errors.UsageError(
        f"--workdir={path}: a run's folder must be local or mounted; copy exports and logs from it"
      )
    self.path = Path(path)
    self.name = self.path.resolve().name
    self.config = self.path / "config.gin"
    self.operative_config = self.path / "operative_config.gin"
    self.initial = self.path / "initial.txt"
    self.facts = self.path / "run.json"
    self.owner = self.path / owners.NAME
    self.checkpoints = self.path / "checkpoints"
    self.logs = self.path / "logs"
    self.results = self.path / "results.jsonl"
    self.export = self.path / "export"
    self.report = self.path / "report.html"

  def of_worker(self, index: int) -> Workdir:
    """Returns the folder of one of several processes that train together on one machine."""
    return Workdir(str(self.path / "workers" / str(index))) if index else self

  @contextlib.contextmanager
  def claimed(self) -> Iterator[None]:
    """Makes the folder and keeps other processes from training in it; they may read it.

    The lock is the system's and ends with its process, however that ends. So owner.json stays.

    Raises:
      UsageError: the path cannot be a folder's.
      EnvironmentFault: another process trains here, or nothing can be written.
    """
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      with open(self.owner, "a+", encoding="utf-8") as file:
        self._lock(file.fileno())
        file.truncate(0)
        file.write(owners.write())
        file.flush()
        claim = os.dup(file.fileno())
    except (FileExistsError, NotADirectoryError):
      raise self._no_folder() from None
    except OSError as error:
      raise errors.EnvironmentFault(
        f"--workdir={self.path} cannot be written to ({error.strerror}); give permission or make "
        "room there, or take another --workdir"
      ) from error
    try:
      yield
    finally:
      os.close(claim)

  def _lock(self, descriptor: int) -> None:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise errors.EnvironmentFault(
        f"--workdir={self.path} is being trained in by {self._read_owner()}; wait for it, or take "
        "another --workdir"
      ) from None
    except OSError as error:  # some mounted file systems have no locks
      _log.warning(
        "%s cannot be locked (%s): see to it that no other process trains there",
        self.path,
        error.strerror,
      )

  def _read_owner(self) -> str:
    try:
      who = owners.read(self.owner.read_text())
    except (OSError, ValueError):
      who = None
    return who or "another process"

  def begin(self, configuration: str, facts: RunFacts, allow_config_change: bool) -> None:
    """Writes configuration and facts; where checkpoints are there already, checks them first.

    Args:
      configuration: the text of the whole configuration.
      facts: what the data decides.
      allow_config_change: whether a run may go on with another configuration.

    Raises:
      UsageError: the run would go on as another one; the message shows the difference.
    """
    if any(self.checkpoints.glob("step-*")):
      kept = self.config.read_text() if self.config.exists() else configuration
      if kept != configuration and not allow_config_change:
        lines = (kept.splitlines(), configuration.splitlines())
        diff = "\n".join(difflib.unified_diff(*lines, "kept", "given", n=0, lineterm=""))
        raise errors.UsageError(
          f"the run in {self.path} has another configuration; take another --workdir, or allow it "
          f"with --allow_config_change\n{diff}"
        )
      before = self.read_facts() if self.facts.exists() else facts
      if before.manifest_sha256 != facts.manifest_sha256:
        raise errors.UsageError(
          f"the run in {self.path} was trained on {before.data_dir}, {facts.data_dir} holds other "
          "data; take another --workdir"
        )
    write_text(self.config, configuration)
    self.write_facts(facts)

  def write_facts(self, facts: RunFacts) -> None:
    """Writes the facts to run.json, beside what `describe` has put there."""
    self._write_run(self._read_run() | dataclasses.asdict(facts))

  def read_facts(self) -> RunFacts:
    """Returns what `write_facts` wrote.

    Raises:
      UsageError: nothing was trained here.
      IntegrityError: the file is damaged.
    """
    content = self.read_description()
    try:
      facts = {field.name: content[field.name] for field in dataclasses.fields(RunFacts)}
      tuples = {"labels": tuple(facts["labels"]), "mean_rgb": tuple(facts["mean_rgb"])}
    except (TypeError, KeyError):
      raise self._damaged() from None
    return RunFacts(**facts | tuples)

  def describe(self, sitting: dict, text: str, origins: dict[str, str], **run) -> None:
    """Adds to run.json where the process that trains now runs, and what the run is.

    Args:
      sitting: appended to "sittings", with the configuration's sha256.
      text: of the configuration.
      origins: where its bindings come from. Kept as they are where it is the same configuration as
        before: a run that goes on may read it from its own folder.
      **run: entries, in the place of those of the same name.
    """
    content = self._read_run()
    configuration = content.get("configuration", {})
    if configuration.get("text") != text:
      configuration = {"text": text, "origins": origins}
    sitting = sitting | {"configuration_sha256": hashlib.sha256(text.encode()).hexdigest()}
    sittings = [*content.get("sittings", ()), sitting]
    self._write_run(content | run | {"configuration": configuration, "sittings": sittings})

  def read_description(self) -> dict:
    """Returns all of run.json.

    Raises:
      UsageError: nothing was trained here.
      IntegrityError: the file is damaged.
    """
    try:
      content = json.loads(self.facts.read_text())
    except FileNotFoundError:
      raise errors.UsageError(
        f"--workdir={self.path} holds no run ({self.facts.name} is missing); train one there first"
      ) from None
    except NotADirectoryError:
      raise self._no_folder() from None
    except ValueError:
      raise self._damaged() from None
    if not isinstance(content, dict):
      raise self._damaged()
    return content

  def _read_run(self) -> dict:
    try:
      return self.read_description()
    except errors.VggtfError:  # it is written anew
      return {}

  def _write_run(self, content: dict) -> None:
    write_text(self.facts, json.dumps(content, indent=1) + "\n")

  def _no_folder(self) -> errors.UsageError:
    return errors.UsageError(
      f"--workdir={self.path} is a file or lies below one; expected a folder, new or a run's"
    )

  def _damaged(self) -> errors.IntegrityError:
    return errors.IntegrityError(
      f"{self.facts} is damaged; delete it and run the training command again to write it anew"
    )

  def append_results(self, lines: list[dict]) -> None:
    """Adds measurements to results.jsonl; see `results.append`."""
    results.append(self.results, lines)

  def read_results(self) -> list[dict]:
    """Returns every measurement so far."""
    return results.read(self.results)


def write_text(path: Path, text: str) -> None:
  """Writes a whole file or nothing, as UTF-8; see `write_bytes`."""
  write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
  """Writes a whole file or nothing: aside, to the disk, then renamed.

  Raises:
    UsageError: the path cannot be a file's.
    OSError: the disk's refusal.
  """
  if path.is_dir():
    raise errors.UsageError(f"{path} is a folder; expected a file, new or to be replaced")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except (FileExistsError, NotADirectoryError):
    raise errors.UsageError(f"{path} lies below a file; expected a folder, new or there") from None
  aside = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    with open(aside, "wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(aside, path)
  finally:
    aside.unlink(missing_ok=True)  # it is there only if something failed
