"""A run in a few lines."""

from vggtf import workdir


def rows(run: workdir.Workdir) -> list[tuple[str, str]]:
  """Returns what a run converted, trained, measured and exported, and where it lies."""
  facts = run.read_facts()
  images = ", ".join(f"{count:,} {split}" for split, count in facts.splits.items())
  found = [("converted", f"{images} images; {sum(facts.rejected.values())} rejected")]
  newest = {(line["job"], line["protocol"], line["metric"]): line for line in run.read_results()}
  for (job, protocol, metric), line in newest.items():
    if job == "train" and metric == "top1_error":
      found.append(
        ("trained", f"{line['step']:,} steps, validation error {line['value']:.2%} ({protocol})")
      )
  for (job, protocol, metric), line in newest.items():
    if job == "evaluate":
      name = metric.replace("top", "top-").replace("_", " ")
      found.append((name, f"{line['value']:.2%} of {line['count']:,} images ({protocol})"))
  found += [("SavedModel", str(path)) for path in sorted(run.export.glob("*/[0-9]*"))]
  found.append(("TensorBoard", f"tensorboard --logdir {run.logs}"))
  found.append(("results", str(run.results)))
  return found
