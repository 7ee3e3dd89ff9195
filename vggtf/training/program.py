"""What a program of XLA (HLO) computes, sends and asks of its host, read from its instructions."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator

from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

Instruction = hlo_pb2.HloInstructionProto
Computation = hlo_pb2.HloComputationProto

_HOST = ("infeed", "outfeed", "send", "recv", "custom-call")
_SUMS = ("all-reduce", "all-reduce-start", "reduce-scatter")
_INSIDE = ("while", "conditional", "call", "fusion", "async-start")  # run what they call as it is
_CYCLES = re.compile(rb'"estimated_cycles":"(\d+)"')
_SAME = ("copy", "reshape", "convert", "bitcast")
_COMPARE = {
  "LT": int.__lt__,
  "LE": int.__le__,
  "GT": int.__gt__,
  "GE": int.__ge__,
  "NE": int.__ne__,
}


class Program:
  """A module of HLO.

  Args:
    serialized: an HloModuleProto.
  """

  def __init__(self, serialized: bytes):
    self._module = hlo_pb2.HloModuleProto.FromString(serialized)
    self._computations = {one.id: one for one in self._module.computations}
    self.entry = self._computations[self._module.entry_computation_id]
    self.in_place = frozenset(  # indices of the results that take a parameter's place
      index for one in self._module.input_output_alias.entries for index in one.output_shape_index
    )

  def argument_bytes(self) -> int:
    """Returns what the program is given takes."""
    return sum(size(one.shape) for one in self.entry.instructions if one.opcode == "parameter")

  def multiply_adds(self) -> int:
    """Returns those of convolutions and matrix products; padding counts, holes of strides do not.

    That is how nets are counted on paper: each output takes one for each weight that leads to it.
    """
    return sum(times * _multiply_adds(one, operands) for one, operands, times in self._walk())

  def sums(self) -> tuple[int, int]:
    """Returns how many sums over replicas there are, and the bytes that go into them."""
    sizes = [times * size(one.shape) for one, _, times in self._walk() if one.opcode in _SUMS]
    number = sum(times for one, _, times in self._walk() if one.opcode in _SUMS)
    return number, sum(sizes)

  def estimated_cycles(self) -> int:
    """Returns the sum of what a TPU's compiler noted of its own instructions; 0 before it did."""
    notes = ((_CYCLES.search(one.backend_config), times) for one, _, times in self._walk())
    return sum(int(note[1]) * times for note, times in notes if note)

  def host_operations(self) -> list[str]:
    """Returns the names of what waits for a host, or calls code that is not XLA's."""
    return sorted(
      {
        f"{one.opcode} {one.custom_call_target}".strip()
        for one in self._all()
        if one.opcode in _HOST
      }
    )

  def changing_shapes(self) -> list[str]:
    """Returns the names of the instructions whose sizes are not known before they run."""
    return [one.name for one in self._all() if any(one.shape.is_dynamic_dimension)]

  def without_copies(self) -> tuple[bytes, dict[int, int]]:
    """Returns the program for another compiler, serialized, and its aliases apart from it.

    TensorFlow puts a copy before each result, which JAX's compilers do not take. The aliases are
    the numbers of results by those of the parameters whose places they take.
    """
    module = hlo_pb2.HloModuleProto()
    module.CopyFrom(self._module)
    module.ClearField("input_output_alias")
    for computation in module.computations:
      for one in computation.instructions:
        if one.opcode == "copy":
          one.opcode = "reshape"
    entries = self._module.input_output_alias.entries
    aliases = {one.parameter_number: one.output_shape_index[0] for one in entries}
    return module.SerializeToString(), aliases

  def called(self, one: Instruction) -> list[Computation]:
    """Returns the computations that an instruction runs, rather than hands to a reduction."""
    if one.opcode not in _INSIDE:
      return []
    return [self._computations[number] for number in one.called_computation_ids]

  def _all(self) -> Iterator[Instruction]:
    return (one for computation in self._computations.values() for one in computation.instructions)

  def _walk(
    self, computation: Computation | None = None, times: int = 1
  ) -> Iterator[tuple[Instruction, list[Instruction], int]]:
    """Yields the instructions that run, their operands, and how often they do."""
    computation = computation or self.entry
    by_id = {one.id: one for one in computation.instructions}
    for one in needed(computation):
      yield one, [by_id[number] for number in one.operand_ids], times
      inside = self.called(one)
      repeats = self._repeats(one, computation) if one.opcode == "while" else 1
      for other in inside:
        yield from self._walk(other, times * repeats)

  def _repeats(self, loop: Instruction, computation: Computation) -> int:
    """Returns how often a loop runs; 1 where that depends on what is computed."""
    if counted := re.search(rb'"known_trip_count":{"n":"(\d+)"', loop.backend_config):
      return int(counted[1])  # a compiler found it out
    body, condition = self.called(loop)
    state = _Values(self, computation, None).of(loop.operand_ids[0])
    for count in range(10**6):
      goes_on = _Values(self, condition, state).of(condition.root_id)
      if goes_on is None:
        return 1
      if not goes_on:
        return count
      state = _Values(self, body, state).of(body.root_id)
    return 1


class _Values:
  """The scalar integers of a computation that follow from constants; None stands for all others.

  A tuple is a tuple of such values.
  """

  def __init__(self, program: Program, computation: Computation, argument):
    self._program, self._argument = program, argument
    self._by_id = {one.id: one for one in computation.instructions}
    self.of = functools.cache(self._of)

  def _of(self, number: int):
    one = self._by_id[number]
    if one.opcode == "parameter":
      return self._argument
    if one.opcode == "constant" and not one.shape.dimensions:
      values = [*one.literal.s32s, *one.literal.s64s, *one.literal.preds]
      return int(values[0]) if values else None
    if one.opcode == "tuple":
      return tuple(self.of(operand) for operand in one.operand_ids)
    if one.opcode == "get-tuple-element":
      values = self.of(one.operand_ids[0])
      return None if values is None else values[one.tuple_index]
    if one.opcode == "call":
      (callee,) = self._program.called(one)
      return _Values(self._program, callee, self.of(one.operand_ids[0])).of(callee.root_id)
    if one.shape.dimensions or one.opcode not in (*_SAME, "add", "and", "compare"):
      return None
    values = [self.of(operand) for operand in one.operand_ids]
    if None in values:
      return None
    if one.opcode == "add":
      return sum(values)
    if one.opcode == "and":
      return values[0] & values[1]
    if one.opcode == "compare":
      compare = _COMPARE.get(one.comparison_direction)
      return compare(*values) if compare else None
    return values[0]


def needed(computation: Computation) -> list[Instruction]:
  """Returns the instructions that the result depends on, in order; compilers drop the others."""
  found = {computation.root_id}
  for one in reversed(computation.instructions):  # operands come first
    if one.id in found:
      found.update(one.operand_ids)
  return [one for one in computation.instructions if one.id in found]


def size(shape: xla_data_pb2.ShapeProto) -> int:
  """Returns the bytes of an array or of all arrays of a tuple."""
  kind = xla_data_pb2.PrimitiveType.Name(shape.element_type)
  if kind == "TUPLE":
    return sum(map(size, shape.tuple_shapes))
  digits = re.search(r"\d+", kind)  # BF16, F8E4M3FN; PRED and TOKEN have none
  return math.prod(shape.dimensions) * max(8, int(digits[0]) if digits else 8) // 8


def _multiply_adds(one: Instruction, operands: list[Instruction]) -> int:
  outputs = one.shape.dimensions
  if one.opcode == "dot":
    left = operands[0].shape.dimensions
    shared = one.dot_dimension_numbers.lhs_contracting_dimensions
    return math.prod(outputs) * math.prod(left[axis] for axis in shared)
  if one.opcode != "convolution":
    return 0
  left, kernel = (operand.shape.dimensions for operand in operands)
  axes = one.convolution_dimension_numbers
  places = math.prod(outputs) * kernel[axes.kernel_input_feature_dimension]
  for window, before, after in zip(
    one.window.dimensions,
    axes.input_spatial_dimensions,
    axes.output_spatial_dimensions,
    strict=True,
  ):
    # Between the numbers of a dilated input lie holes: each number meets each weight once.
    met = left[before] if window.base_dilation > 1 else outputs[after]
    places = places // outputs[after] * met * window.size
  return places
