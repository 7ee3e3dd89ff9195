"""results.jsonl: one measurement a line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from vggtf import errors


def lines(job: str, run: str, step: int, protocol: str, measured: dict) -> list[dict]:
  """Returns a line of results.jsonl for each metric.

  Args:
    job: "train" or "evaluate".
    run: the run's name.
    step: of the checkpoint.
    protocol: how it was measured.
    measured: metric name -> mean, whose `value` is a fraction and whose `weight` counts images.
  """
  return [
    {
      "job": job,
      "run": run,
      "checkpoint": f"step-{step:08d}",
      "step": step,
      "protocol": protocol,
      "metric": metric,
      "value": mean.value,
      "count": int(mean.weight),
    }
    for metric, mean in measured.items()
  ]


def append(path: Path, measurements: list[dict]) -> None:
  """Adds measurements, whole lines in one write.

  Raises:
    EnvironmentFault: there is no room, or no permission; what was there stays.
  """
  text = "".join(json.dumps(one) + "\n" for one in measurements)
  try:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
      size = os.fstat(descriptor).st_size
      if size and os.pread(descriptor, 1, size - 1) != b"\n":
        text = "\n" + text  # a crash cut the last line short
      if os.write(descriptor, text.encode()) < len(text.encode()):
        os.ftruncate(descriptor, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
      os.close(descriptor)
  except OSError as error:
    raise errors.EnvironmentFault(
      f"the results cannot be written to {path} ({error.strerror}); make room or give permission "
      "there, then evaluate again with --job=evaluate"
    ) from error


def read(path: Path) -> list[dict]:
  """Returns every measurement so far; a line cut short by a crash is passed over."""
  found = []
  for line in path.read_text().splitlines() if path.exists() else ():
    try:
      found.append(json.loads(line))
    except ValueError:
      continue
  return found
