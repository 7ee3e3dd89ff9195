"""A run in a few lines."""

from vggtf import workdir

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
  images = ", ".join(f"{count:,} {split}" for split, count in facts.splits.items())
  rows = [("converted", f"{images} images; {sum(facts.rejected.values())} rejected")]
  # Of equal measurements the last counts.
  newest = {(line["job"], line["protocol"], line["metric"]): line for line in run.read_results()}
  validated = [line for (job, _, _), line in newest.items() if job == "train"]
  if validated:
    rows.append(("trained", f"{validated[-1]['step']:,} steps"))
    rows += [(f"- {name}", value) for name, value in map(measurement, validated)]
  measured = [line for (job, _, _), line in newest.items() if job == "evaluate"]
  if measured:
    rows.append(("evaluated", measured[-1]["checkpoint"]))
    rows += [(f"- {name}", value) for name, value in map(measurement, measured)]
  exported = (path for path in run.export.glob("*/*") if path.name.isdecimal())
  rows += [("SavedModel", str(path)) for path in sorted(exported)]
  rows.append(("TensorBoard", f"tensorboard --logdir {run.logs}"))
  rows.append(("results", str(run.results)))
  return rows
