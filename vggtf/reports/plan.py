"""What a training will need, in a few lines."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from vggtf.reports import listing

Row = listing.Row


@dataclasses.dataclass(frozen=True)
class Step:
  """One step of one replica, as its program says; sizes in bytes.

  Attributes:
    parameters: trained numbers.
    multiply_adds: of the step's products.
    forward_multiply_adds: of the net, for the replica's images.
    sums: how many sums over the replicas, and sum_bytes: that go into them.
    host_operations: names of what waits for a host; changing_shapes: of what has no fixed size.
    weights, gradients, slots, averages, batch: what they take.
    activations: of the outputs of the net's layers.
    arguments: all that the step is given: weights, slots, averages, the batch and a few numbers.
    temporaries: an estimate of what it holds at its peak beside them.
  """

  parameters: int
  multiply_adds: int
  forward_multiply_adds: int
  sums: int
  sum_bytes: int
  host_operations: list[str]
  changing_shapes: list[str]
  weights: int
  gradients: int
  slots: int
  averages: int
  batch: int
  activations: int
  arguments: int
  temporaries: int


class Compiled(Protocol):
  """What a compiler says; vggtf/training/tpu_compiler.py."""

  hbm_bytes: int
  code_bytes: int
  temporary_bytes: int
  floating_point_operations: float
  seconds: float | None
  sums: int
  sum_bytes: int


def of_step(step: Step) -> dict[str, list[Row]]:
  """Returns the groups of a step, by heading."""
  share = step.multiply_adds / (3 * step.forward_multiply_adds)
  problems = [f"waits for {one}" for one in step.host_operations]
  problems += [f"{one} has no fixed size" for one in step.changing_shapes]
  computed = [
    ("parameters", f"{step.parameters:,}"),
    ("multiply-adds", f"{step.multiply_adds / 1e9:,.1f} G, {share:.2f} of 3 forward passes"),
    ("operations", f"{_tera(2 * step.multiply_adds)} in products"),
    ("sums", _sums(step.sums, step.sum_bytes)),
    ("host", "; ".join(problems) or "not needed: all sizes are fixed, nothing leaves the device"),
  ]
  memory = [
    ("weights", size(step.weights)),
    ("gradients", size(step.gradients)),
    ("optimizer", size(step.slots)),
    *([("averages", size(step.averages))] if step.averages else []),
    ("batch", size(step.batch)),
    ("activations", f"{size(step.activations)}, all layers' outputs"),
    (
      "at the peak",
      f"{size(step.arguments + step.temporaries)}, estimated: {size(step.arguments)} that stay and "
      f"{size(step.temporaries)} alive at once",
    ),
  ]
  return {"computed in a step, by each replica": computed, "memory of a device": memory}


def of_compiled(compiled: Compiled, available: int) -> list[Row]:
  """Returns what a compiler says of a step that fits.

  Args:
    compiled: what it says.
    available: bytes of a device's memory that programs may use.
  """
  rows = [
    ("memory", f"{size(compiled.hbm_bytes)} of {size(available)}: the step fits"),
    ("- temporaries", size(compiled.temporary_bytes)),
    ("- code", size(compiled.code_bytes)),
    ("operations", _tera(compiled.floating_point_operations)),
    ("sums", _sums(compiled.sums, compiled.sum_bytes)),
  ]
  if compiled.seconds:
    rate = compiled.floating_point_operations / compiled.seconds
    rows.append(
      (
        "time",
        f"{compiled.seconds * 1e3:,.1f} ms ({_tera(rate)}/s), the compiler's estimate: to compare "
        "plans, not a measurement",
      )
    )
  return rows


def size(count: int) -> str:
  """Returns a number of bytes as people read it."""
  return f"{count / 2**30:,.2f} GiB" if count >= 2**28 else f"{count / 2**20:,.2f} MiB"


def _sums(count: int, size_: int) -> str:
  return f"{count} over the replicas, of {size(size_)}" if count else "none: one replica"


def _tera(operations: float) -> str:
  return f"{operations / 1e12:,.3g} TFLOP"
