"""--job=fuse: averages posteriors that evaluations kept, without a second pass (section 4.4)."""

from __future__ import annotations

from pathlib import Path

from vggtf import workdir as workdirs
from vggtf.reports import answers, fusion, measurement, summary


def run(workdir: str, files: list[str]) -> None:
  """Prints the errors of each file's answers, of their mean, and how far they agree.

  The mean's go to results.jsonl and evaluations/ of the run, as an evaluation's do, unless all
  files are of one net and one protocol and were given to be compared.

  Args:
    workdir: the run's folder that the results go to.
    files: answers.npz of evaluations with `evaluate.run.posteriors = True`, of one split each.

  Raises:
    UsageError: the folder holds no run, or see `fusion.fuse`; nothing is kept then.
    IntegrityError: the same.
  """
  folder = workdirs.Workdir(workdir)
  folder.read_facts()  # it is a run
  kept = [answers.load(Path(file)) for file in files]
  fused = fusion.fuse(kept, files)
  rows = [
    row
    for one in (*kept, fused)
    for row in map(summary.measurement, measurement.lines(one.line, fusion.means(one)))
  ]
  rows += [("agreement", text) for text in fusion.agreement(kept)]
  if not fusion.are_one(kept):
    fusion.keep(folder, fused)
  print(summary.text(rows))
