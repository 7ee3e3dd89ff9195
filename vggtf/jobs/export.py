"""--job=export: writes the SavedModel of a trained net's predictor."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

import vggtf
from vggtf import contracts
from vggtf import workdir as workdirs
from vggtf.export import saved_model
from vggtf.export.limits import Limits
from vggtf.training import averaging, trained


def run(
  workdir: str,
  model: Callable[..., contracts.Model],
  predictor: Callable[[contracts.Model], contracts.Predictor],
  target: str | None = None,
  checkpoint_choice: str = "latest",
  weights: str = "raw",
  form: str = saved_model.VARIABLES,
  limits: Callable[[], Limits] = Limits,
  tolerance: float = 1e-5,
  overwrite: bool = False,
) -> None:
  """Writes <target>/<predictor>/<step> and prints its path.

  Args:
    workdir: the run's folder.
    model: the net that was trained.
    predictor: what was measured; called with the net.
    target: folder of exports, local or a bucket's; <workdir>/export by default.
    checkpoint_choice: "latest" or "best".
    weights: "raw", or "ema" for the averages of a run that keeps them.
    form: how weights are stored: "variables", "frozen" or "frozen_bfloat16".
    limits: what a request may ask for.
    tolerance: by how much an answer of the export may differ from the predictor's own.
    overwrite: whether an export of the same checkpoint is replaced.
  """
  folder = workdirs.Workdir(workdir)
  facts = folder.read_facts()
  net, step = trained.load_model(folder, facts, model, checkpoint_choice, weights)
  predictor = predictor(net)
  origin = {
    "run": folder.name,
    "protocol": predictor.describe() + averaging.REMARK[weights],
    "checkpoints": _list_checkpoints(net, predictor),
    "configuration_sha256": hashlib.sha256(folder.config.read_bytes()).hexdigest(),
    "data_manifest_sha256": facts.manifest_sha256,
    "vggtf": vggtf.__version__,
    "tensorflow": importlib.metadata.version("tensorflow"),
  }
  print(
    saved_model.export(
      target or folder.export,
      net,
      predictor,
      facts.labels,
      step,
      origin,
      form,
      limits(),
      tolerance,
      overwrite,
    )
  )


def _list_checkpoints(net: contracts.Model, predictor: contracts.Predictor) -> list[dict[str, Any]]:
  """Returns run, step and sha256 of each net's checkpoint, this run's first."""
  nets = [net, *getattr(predictor, "submodules", ())]
  sources = dict.fromkeys(one.source for one in nets if getattr(one, "source", None))
  return [{"run": one.run, "step": one.step, "sha256": one.sha256} for one in sources]
