"""The net of a run, as it was trained."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts, errors
from vggtf import workdir as workdirs
from vggtf.training import averaging, source
from vggtf.training.checkpoint import Checkpoints
from vggtf.training.restoring import restore


def load_model(
  folder: workdirs.Workdir,
  facts: workdirs.RunFacts,
  model: Callable[..., contracts.Model],
  which: str,
  weights: str = averaging.RAW,
) -> tuple[contracts.Model, int]:
  """Builds the net of a run and fills it from its "latest" or "best" checkpoint.

  Args:
    folder: the run's.
    facts: the run's.
    model: the constructor of its net.
    which: "latest" or "best".
    weights: "raw", or "ema" for the averages that a run with `train.run.averaging` keeps.

  Returns:
    The net, with its `source`, and the checkpoint's step.

  Raises:
    UsageError: an unknown choice, nothing was trained yet, or the run keeps no averages.
    IntegrityError: the checkpoints are damaged or of another net.
  """
  averaging.check_choice("weights", weights)

  def read(prefix: str) -> contracts.Model:
    net = model(classes=len(facts.labels), mean_rgb=facts.mean_rgb)
    restore(tf.train.Checkpoint(model=net), prefix, whole=False)
    if weights == averaging.EMA:
      if not any(name.startswith("averaging/") for name, _ in tf.train.list_variables(prefix)):
        raise errors.UsageError(
          f"weights = 'ema', but {folder.path} was trained without averages; take 'raw', or train "
          "with --gin_file=gin/with/ema.gin"
        )
      averages = averaging.ExponentialMovingAverage()
      averages.build(net.variables)
      restore(tf.train.Checkpoint(averaging=averages), prefix, whole=False)
      averages.assign()
    net.source = source.describe(folder, facts, prefix, weights == averaging.EMA)
    return net

  return Checkpoints(folder.checkpoints).read(which, read)


def load_run(
  workdir: str,
  model: Callable[..., contracts.Model],
  checkpoint_choice: str = "latest",
  weights: str = averaging.RAW,
) -> contracts.Model:
  """Returns the net of a run, for gin to bind where nets of several runs meet.

  Args:
    workdir: the run's folder.
    model: the constructor of its net.
    checkpoint_choice: "latest" or "best".
    weights: "raw" or "ema".

  Raises:
    UsageError: as `load_model`; or the folder holds no run.
    IntegrityError: as `load_model`.
  """
  folder = workdirs.Workdir(workdir)
  return load_model(folder, folder.read_facts(), model, checkpoint_choice, weights)[0]
