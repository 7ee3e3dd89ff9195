"""A run in one short table."""

from __future__ import annotations

import rich.table

from vggtf import workdir


def table(run: workdir.Workdir) -> rich.table.Table:
  """Returns what a run converted, trained, measured and exported, and where it lies."""
  facts = run.read_facts()
  rows = rich.table.Table(title=f"run {run.name}", title_justify="left", show_header=False)
  images = ", ".join(f"{count:,} {split}" for split, count in facts.splits.items())
  rows.add_row("converted", f"{images}; {sum(facts.rejected.values())} rejected")
  newest = {}
  for result in run.read_results():
    newest[result["job"], result["protocol"], result["metric"]] = result
  for (job, protocol, metric), result in newest.items():
    if job == "train" and metric == "top1_error":
      rows.add_row(
        "trained", f"{result['step']:,} steps; validation error {result['value']:.2%} ({protocol})"
      )
  for (job, protocol, metric), result in newest.items():
    if job == "evaluate":
      name = metric.replace("_error", " error").replace("top", "top-")
      rows.add_row(f"{name}", f"{result['value']:.2%} of {result['count']:,} images ({protocol})")
  for path in sorted(run.export.glob("*/[0-9]*")):
    rows.add_row("SavedModel", str(path))
  rows.add_row("TensorBoard", f"tensorboard --logdir {run.logs}")
  rows.add_row("results", str(run.results))
  return rows
