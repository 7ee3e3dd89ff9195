"""--job=export: writes the SavedModel of a trained net's predictor."""

from __future__ import annotations

from collections.abc import Callable

from vggtf import contracts
from vggtf import workdir as workdirs
from vggtf.export import saved_model
from vggtf.training import trained


def run(
  workdir: str,
  model: Callable[..., contracts.Model],
  predictor: Callable[[contracts.Model], contracts.Predictor],
  checkpoint_choice: str = "latest",
  weights: str = "raw",
) -> None:
  """Writes <workdir>/export/<predictor>/<step> and prints its path.

  Args:
    workdir: the run's folder.
    model: the net that was trained.
    predictor: what was measured; called with the net.
    checkpoint_choice: "latest" or "best".
    weights: "raw", or "ema" for the averages of a run that keeps them.
  """
  folder = workdirs.Workdir(workdir)
  facts = folder.read_facts()
  net, step = trained.load_model(folder, facts, model, checkpoint_choice, weights)
  print(saved_model.export(folder.export, net, predictor(net), facts.labels, step))
