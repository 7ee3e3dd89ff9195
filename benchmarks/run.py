"""Runs benchmarks, each in a process of its own; prints one table and writes one JSON file each.

  python -m benchmarks.run [name ...]

A benchmark is a module here whose measure() returns a dict: "rows" for the table, "notes" that
belong below it, and "rounds", all that was measured. It goes to build/benchmarks/<name>.json.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys

import rich.console
import rich.table

from benchmarks import rounds

NAMES = ("checkpoint", "convert", "input", "loop", "memory")
NAMES += ("predictors", "scaling", "serving", "step")
OUTPUT = pathlib.Path(__file__).parents[1] / "build" / "benchmarks"
PACKAGES = ("tensorflow", "torch", "numpy", "apache-beam", "pillow", "simplejpeg")
# Of the environment and of the processor's flags, what decides how fast a convolution can be.
SETTINGS = ("TF_ENABLE_ONEDNN_OPTS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
FLAGS = ("avx", "avx2", "fma", "f16c", "avx512", "avx_vnni", "amx")
WIDTH = 132  # where the output is not a terminal


def main() -> int:
  names = sys.argv[1:] or NAMES
  unknown = [name for name in names if name not in NAMES]
  if unknown:
    print(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
    return 2
  OUTPUT.mkdir(parents=True, exist_ok=True)
  machine, results = describe_machine(), {}
  for name in names:
    print(f"{name} ...", file=sys.stderr)
    results[name] = rounds.apart(measure, name)
    kept = {"name": name, "machine": machine} | results[name]
    (OUTPUT / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
  show(results, machine)
  return 0


def measure(name: str) -> dict:
  """Returns what the benchmark of this name measures, as JSON values."""
  found = importlib.import_module(f"benchmarks.{name}").measure()
  return {
    "rows": [dataclasses.asdict(row) for row in found["rows"]],
    "notes": found["notes"],
    "rounds": {
      group: {who: [dataclasses.asdict(one) for one in rounds] for who, rounds in taken.items()}
      for group, taken in found["rounds"].items()
    },
  }


def describe_machine() -> dict:
  """Returns what the figures depend on beside the code."""
  info = pathlib.Path("/proc/cpuinfo").read_text()
  fields = dict(
    tuple(part.strip() for part in line.split(":", 1)) for line in info.splitlines() if ":" in line
  )
  flags = fields.get("flags", "").split()
  return {
    "date": datetime.date.today().isoformat(),
    "cores": len(os.sched_getaffinity(0)),
    "processor": fields.get("model name", platform.machine()),
    "flags": sorted(flag for flag in flags if flag.startswith(FLAGS)),
    "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    "load": os.getloadavg()[0],
    "python": platform.python_version(),
    "packages": {
      package: importlib.metadata.version(package)
      for package in PACKAGES
      if list(importlib.metadata.distributions(name=package))
    },
  }


def show(results: dict, machine: dict) -> None:
  """Prints all rows as one table, then the notes."""
  console = rich.console.Console()
  if not console.is_terminal:
    console = rich.console.Console(width=WIDTH)
  table = rich.table.Table()
  for heading in ("what", "unit", "ours", "peer", "its", "ours / its", "rounds", "by CPU time"):
    table.add_column(heading, justify="left" if heading in ("what", "unit", "peer") else "right")
  for found in results.values():
    for row in found["rows"]:
      table.add_row(
        row["what"],
        row["unit"],
        f"{row['ours']:,.4g}",
        row["peer_name"],
        f"{row['peer']:,.4g}",
        f"{row['ratio']:.2f}",
        f"{row['low']:.2f}-{row['high']:.2f}",
        f"{row['cpu_ratio']:.2f}",
      )
    table.add_section()
  console.print(table)
  packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
  settings = "".join(f", {name}={value}" for name, value in machine["settings"].items())
  console.print(
    f"{machine['date']}, {machine['cores']} cores of {machine['processor']} "
    f"({' '.join(machine['flags'])}), load {machine['load']:.1f} at the start; "
    f"Python {machine['python']}, {packages}{settings}",
    highlight=False,
  )
  for found in results.values():
    for note in found["notes"]:
      console.print(f"- {note}", highlight=False)


if __name__ == "__main__":
  sys.exit(main())
