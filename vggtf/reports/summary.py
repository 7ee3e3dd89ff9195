"""A run in a few lines."""

import itertools

from vggtf import workdir
from vggtf.reports.measurement import last

Row = tuple[str, str]


def text(rows: list[Row]) -> str:
  """Returns rows of a name and a value as aligned lines, never wrapped: paths can be copied."""
  return "\n".join(f"{name:<13} {value}" for name, value in rows)


def spell(metric: str) -> str:
  """Returns the name of a metric in words: "top-1 error"."""
  return metric.replace("top", "top-").replace("_", " ")


def measurement(line: dict) -> Row:
  """Returns a line of results.jsonl as a row."""
  value = f"{line['value']:.2%}"
  if "standard_error" in line:
    value += f" ± {line['standard_error']:.2%}"
  return spell(line["metric"]), f"{value} of {line['count']:,} images ({line['protocol']})"


def of_run(run: workdir.Workdir) -> list[Row]:
  """Returns what a run converted, trained, measured and exported, and where it lies."""
  facts = run.read_facts()
  rows = []
  if facts.splits:  # weights from elsewhere come without data
    images = ", ".join(f"{count:,} {split}" for split, count in facts.splits.items())
    rows.append(("converted", f"{images} images; {sum(facts.rejected.values())} rejected"))
  # Of equal measurements the last counts, whatever its checkpoint. Training's come first.
  lines = last(run.read_results(), "job", "protocol", "metric", "split", "data_sha256")
  lines.sort(key=lambda line: line["job"] != "train")
  for heading, below in itertools.groupby(lines, _head):
    rows += [heading, *((f"- {name}", value) for name, value in map(measurement, below))]
  exported = (path for path in run.export.glob("*/*") if path.name.isdecimal())
  rows += [("SavedModel", str(path)) for path in sorted(exported)]
  rows.append(("TensorBoard", f"tensorboard --logdir {run.logs}"))
  rows.append(("results", str(run.results)))
  return rows


def _head(line: dict) -> Row:
  """Returns what was measured, and on what."""
  if line["job"] == "train":
    return "trained", f"{line['step']:,} steps"
  data = f"{line['split']} of {line['data_sha256'][:8]}" if "split" in line else "unknown data"
  return "evaluated", f"{line['checkpoint']} on {data}"
