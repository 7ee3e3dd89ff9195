"""An estimate of the memory that a program needs at its peak, from when each result is last read.

XLA's compilers decide for themselves what they fuse, keep and compute again. The estimate supposes
what they all do: element-wise operations are fused with the product that they follow or the
reduction that they lead to, so only what products and poolings read, and what these write, takes
memory; a new value is whole before it takes a variable's place; and of all that could be computed
next, it is that which frees most. Padding of an accelerator's tiles is not known here.
"""

from __future__ import annotations

import collections

from vggtf.training import program as programs

# What takes no memory of its own: another view of the same numbers, or one that is fused.
_VIEWS = ("reshape", "bitcast", "bitcast-convert", "copy", "get-tuple-element", "transpose")
_VIEWS += ("set-dimension-size",)
_SOURCES = ("constant", "iota", "broadcast", "partition-id", "replica-id")
_OPAQUE = ("convolution", "dot", "reduce-window", "select-and-scatter", "sort", "gather", "scatter")
_OPAQUE += ("all-reduce", "while", "conditional", "call", "custom-call", "fusion", "reduce")
_OPAQUE += ("batch-norm-training", "batch-norm-grad", "batch-norm-inference", "dynamic-slice")
# These want what they read in memory; a reduction takes element-wise results as they are made.
_READS_WHOLE = {*_OPAQUE, "tuple"} - {"reduce"}


def temporary_bytes(program: programs.Program) -> int:
  """Returns the most bytes alive at once, beside the parameters and the results in their place."""
  return _peak(program, program.entry, program.in_place)


def _peak(
  program: programs.Program, computation: programs.Computation, in_place: frozenset[int] | None
) -> int:
  """Returns the most bytes alive at once in a computation.

  Args:
    program: that it belongs to.
    computation: what runs.
    in_place: which of its results have a place already; None if all have.
  """
  flow = _Flow(computation)
  results = flow.results()
  placed = {one for index, one in enumerate(results) if in_place is None or index in in_place}
  whole = {one: _own_bytes(program, flow.by_id[one]) for one in flow.kept}
  sizes = {one: 0 if one in placed else whole[one] for one in flow.kept}
  waiting = {one: flow.reads(one) for one in flow.kept}
  readers = collections.Counter(source for sources in waiting.values() for source in sources)
  readers.update(set(results))  # what is returned stays
  ready = [one for one in flow.kept if not waiting[one]]
  unmet = {one: set(sources) for one, sources in waiting.items()}
  users = collections.defaultdict(list)
  for one, sources in waiting.items():
    for source in sources:
      users[source].append(one)

  def growth(one: int) -> int:
    return sizes[one] - sum(sizes[source] for source in waiting[one] if readers[source] == 1)

  alive = peak = 0
  while ready:
    chosen = min(ready, key=lambda one: (growth(one), one))  # of equals the first made
    ready.remove(chosen)
    inside = [_peak(program, other, None) for other in program.called(flow.by_id[chosen])]
    # What a loop carries begins in the place of what it is given.
    own = growth(chosen) if flow.by_id[chosen].opcode == "while" else whole[chosen]
    peak = max(peak, alive + own + max(inside, default=0))
    alive += growth(chosen)
    for source in waiting[chosen]:
      readers[source] -= 1
    for user in users[chosen]:
      unmet[user].discard(chosen)
      if not unmet[user]:
        ready.append(user)
  return peak


def _own_bytes(program: programs.Program, one: programs.Instruction) -> int:
  """Returns the bytes of a result, without what a loop only passes on."""
  if one.opcode != "while":
    return programs.size(one.shape)
  body, _ = program.called(one)
  flow = _Flow(body)
  carried = zip(one.shape.tuple_shapes, flow.by_id[body.root_id].operand_ids, strict=True)
  return sum(
    programs.size(shape) for at, (shape, end) in enumerate(carried) if not flow.passes_on(end, at)
  )


class _Flow:
  """Which results of a computation take memory, and who reads them.

  Attributes:
    by_id: instructions.
    kept: ids of those whose results take memory, parameters left out.
  """

  def __init__(self, computation: programs.Computation):
    self._root = computation.root_id
    instructions = programs.needed(computation)
    self.by_id = {one.id: one for one in instructions}
    users = collections.defaultdict(set)
    for one in instructions:
      if one.opcode not in _VIEWS:
        for operand in one.operand_ids:
          users[self._origin(operand)].add(one.id)
    self.kept = [one.id for one in instructions if self._is_kept(one, users[one.id])]
    self._kept = set(self.kept)

  def reads(self, number: int) -> set[int]:
    """Returns which kept results an instruction reads, through what is fused with it."""
    found, way, seen = set(), [number], set()
    while way:
      for operand in self.by_id[way.pop()].operand_ids:
        origin = self._origin(operand)
        if origin in self._kept:
          found.add(origin)
        elif origin not in seen:
          seen.add(origin)
          way.append(origin)
    return found

  def results(self) -> list[int]:
    """Returns the origins of what the computation returns, in order."""
    root = self.by_id[self._root]
    operands = root.operand_ids if root.opcode == "tuple" else [self._root]
    return [self._origin(one) for one in operands]

  def passes_on(self, number: int, index: int) -> bool:
    """Returns whether a result is the `index`th part of what the computation is given."""
    while self.by_id[number].opcode in _VIEWS:
      if self.by_id[number].opcode == "get-tuple-element":
        given = self.by_id[self.by_id[number].operand_ids[0]]
        return given.opcode == "parameter" and self.by_id[number].tuple_index == index
      number = self.by_id[number].operand_ids[0]
    return False

  def _origin(self, number: int) -> int:
    while self.by_id[number].opcode in _VIEWS:
      number = self.by_id[number].operand_ids[0]
    return number

  def _is_kept(self, one: programs.Instruction, users: set[int]) -> bool:
    readers = [self.by_id[user].opcode for user in users]
    if one.opcode in (*_VIEWS, *_SOURCES, "parameter", "tuple"):
      return False
    if one.opcode in ("convolution", "dot"):  # fused with the one element-wise operation it is for
      return len(readers) != 1 or readers[0] in (*_OPAQUE, "tuple")
    return one.opcode in _OPAQUE or not _READS_WHOLE.isdisjoint(readers)
