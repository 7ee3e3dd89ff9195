"""Where the net of a run comes from, read from the run's folder."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from vggtf import contracts, workdir


def describe(
  folder: workdir.Workdir, facts: workdir.RunFacts, prefix: str, averaged: bool
) -> contracts.Source:
  """Returns the source of a net.

  Args:
    folder: the run's.
    facts: the run's.
    prefix: of the checkpoint that was read, `Checkpoints.prefix`.
    averaged: whether the averages in it were taken.

  Raises:
    OSError: the checkpoint is gone.
  """
  checkpoint = Path(prefix).parent
  return contracts.Source(
    run=folder.name,
    step=int(checkpoint.name.removeprefix("step-")),
    sha256=hashlib.sha256((checkpoint / "COMMIT.json").read_bytes()).hexdigest(),
    labels=facts.labels,
    trained_at=_read_scales(folder),
    averaged=averaged,
  )


def _read_scales(folder: workdir.Workdir) -> tuple[int, int] | None:
  """Returns the smallest and the largest S of the run's `TrainView`, None if it does not say."""
  for path in (folder.operative_config, folder.config):  # the first has the defaults too
    text = path.read_text() if path.exists() else ""
    pattern = r"^(?:[\w.]+\.)?TrainView\.scale_(min|max) = (\d+)$"
    found = {name: int(value) for name, value in re.findall(pattern, text, re.M)}
    if found.keys() == {"min", "max"}:
      return found["min"], found["max"]
  return None
