"""--job=describe: a table of a net's layers, from the configuration alone, without data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import rich.console

from vggtf import contracts, errors
from vggtf import workdir as workdirs
from vggtf.reports import layer_table
from vggtf.training import traced_layers


def run(
  model: Callable[..., contracts.Model],
  workdir: str | None = None,
  classes: int = 1000,
  mean_rgb: Sequence[float] = (123.68, 116.779, 103.939),
) -> None:
  """Prints the layers, kernels, output shapes, receptive fields, parameters and costs.

  Args:
    model: the net.
    workdir: a run's folder, whose classes and mean RGB are used then.
    classes: how many, without a run; ImageNet's by default.
    mean_rgb: levels of 0..255, without a run; ImageNet's by default.

  Raises:
    UsageError: no class, or no such run.
  """
  if workdir is not None:
    facts = workdirs.Workdir(workdir).read_facts()
    classes, mean_rgb = len(facts.labels), facts.mean_rgb
  if classes < 1:
    raise errors.UsageError(f"describe.run.classes = {classes}: expected at least 1")
  net = model(classes=classes, mean_rgb=mean_rgb)
  trace = traced_layers.trace(net)
  title = f"{type(net).__name__}, {classes} classes, images of {net.input_size}x{net.input_size}"
  training_only = sum(math.prod(variable.shape) for variable in trace.unused)
  table = layer_table.table(trace.layers, title, training_only)
  # Wide enough for every column where the output is no terminal.
  console = rich.console.Console()
  if not console.is_terminal:
    console = rich.console.Console(width=120)
  console.print(table)
