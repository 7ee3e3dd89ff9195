"""--job=evaluate: measures a trained net by a protocol of the paper."""

from __future__ import annotations

from collections.abc import Callable

from vggtf import contracts, errors
from vggtf import workdir as workdirs
from vggtf.reports import summary
from vggtf.training import averaging, trained


def run(
  workdir: str,
  model: Callable[..., contracts.Model],
  evaluator: Callable[[contracts.Model, str], contracts.Evaluator],
  data_dir: str | None = None,
  checkpoint_choice: str = "latest",
  weights: str = "raw",
) -> None:
  """Measures, prints and adds the numbers to results.jsonl.

  Args:
    workdir: the run's folder.
    model: the net that was trained.
    evaluator: measures; called with the net and the data.
    data_dir: a converted data set with the same classes; the one that was trained on by default.
    checkpoint_choice: "latest" or "best".
    weights: "raw", or "ema" for the averages of a run that keeps them.
  """
  folder = workdirs.Workdir(workdir)
  facts = folder.read_facts()
  net, step = trained.load_model(folder, facts, model, checkpoint_choice, weights)
  data_dir = data_dir or facts.data_dir
  evaluator = evaluator(net, data_dir)
  if tuple(text for _, text in evaluator.labels) != facts.labels:
    raise errors.UsageError(
      f"the net was trained on other classes than those of {data_dir}: labels.txt must be the same"
    )
  measured = evaluator()
  protocol = evaluator.protocol + averaging.REMARK[weights]
  lines = workdirs.result_lines("evaluate", folder.name, step, protocol, measured)
  folder.append_results(lines)
  print(summary.text([summary.measurement(line) for line in lines]))
