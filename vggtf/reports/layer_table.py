"""A net's layers as a table for people."""

import math
from collections.abc import Iterable
from typing import Protocol

import rich.table


class Row(Protocol):
  """A layer; sizes are those of one image."""

  name: str
  kernel: str
  shape: tuple[int, ...]
  field: int
  parameters: int
  multiply_adds: int
  activation_bytes: int
  is_convolution: bool


_COLUMNS = (
  "kernel",
  "output",
  "receptive field",
  "parameters",
  "multiply-adds (M)",
  "activations (MiB)",
)


def table(layers: Iterable[Row], title: str, training_only: int) -> rich.table.Table:
  """Returns the layers with their totals.

  Args:
    layers: in order.
    title: which net this is.
    training_only: parameters that evaluation does not read; told below the table.
  """
  layers = list(layers)
  parameters, products, size = (
    sum(getattr(layer, name) for layer in layers)
    for name in ("parameters", "multiply_adds", "activation_bytes")
  )
  maps = sum(math.prod(layer.shape) for layer in layers if layer.is_convolution)
  caption = (
    f"{products / 1e9:.2f} G multiply-adds an image; convolutions give {maps / 1e6:.2f} M numbers; "
    f"as float32 the parameters are {4 * parameters / 2**20:,.1f} MiB"
  )
  if training_only:
    caption += f"; {training_only:,} more parameters serve training alone"
  drawn = rich.table.Table(title=title, caption=caption, show_footer=True)
  drawn.add_column("layer", footer="total")
  totals = ("", "", "", f"{parameters:,}", _millions(products), _mebibytes(size))
  for name, total in zip(_COLUMNS, totals, strict=True):
    drawn.add_column(name, footer=total, justify="right", no_wrap=True)
  for layer in layers:
    drawn.add_row(
      layer.name,
      layer.kernel,
      " x ".join(map(str, layer.shape)),
      str(layer.field),
      f"{layer.parameters:,}",
      _millions(layer.multiply_adds),
      _mebibytes(layer.activation_bytes),
    )
  return drawn


def _millions(count: int) -> str:
  return f"{count / 1e6:,.2f}"


def _mebibytes(size: int) -> str:
  return f"{size / 2**20:,.2f}"
