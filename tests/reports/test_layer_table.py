import types

import rich.console

from vggtf.reports import layer_table


def row(name, shape, parameters, multiply_adds, size, is_convolution):
  return types.SimpleNamespace(
    name=name,
    kernel="3x3",
    shape=shape,
    field=7,
    parameters=parameters,
    multiply_adds=multiply_adds,
    activation_bytes=size,
    is_convolution=is_convolution,
  )


def test_rows_and_their_totals():
  rows = [
    row("conv1_1", (1000, 1000, 3), 2**20, 2_500_000_000, 3 * 2**20, True),
    row("fc8", (10,), 2**20, 500_000_000, 2**20, False),
  ]
  console = rich.console.Console(width=130)
  with console.capture() as captured:
    console.print(layer_table.table(rows, "a net", training_only=1234))
  lines = captured.get().splitlines()
  cells = [line.replace("│", " ").split() for line in lines]
  first = ["conv1_1", "3x3", "1000", "x", "1000", "x", "3", "7", "1,048,576", "2,500.00", "3.00"]
  assert first in cells
  assert ["fc8", "3x3", "10", "7", "1,048,576", "500.00", "1.00"] in cells
  assert ["total", "2,097,152", "3,000.00", "4.00"] in cells
  caption = " ".join(" ".join(lines[-2:]).split())
  assert "3.00 G multiply-adds an image; convolutions give 3.00 M numbers" in caption
  assert "8.0 MiB; 1,234 more parameters serve training alone" in caption
