"""The host loop: blocks of steps, and hooks between them."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vggtf import contracts
from vggtf.training import stopping


class Block(NamedTuple):
  """Steps that were taken in one call.

  steps: how many; fewer than asked for where the run is to stop.
  scalars: the means of what they returned.
  stop: whether a process was asked to stop; the same in all of them.
  waited: seconds in which there was nothing to do until images came.
  """

  steps: int
  scalars: dict[str, float]
  stop: bool = False
  waited: float = 0.0


def run(
  steps: Callable[[int], Block],
  done: int,
  until: int,
  hooks: Sequence[contracts.Hook],
  batch_size: int,
  steps_per_call: int,
  left_over: Sequence[contracts.Hook] = (),
) -> tuple[int, bool]:
  """Trains until a step, or until asked to stop.

  A block ends where a hook is due, so hooks see exactly the steps that they asked for.

  Args:
    steps: takes so many steps at most.
    done: steps done before.
    until: the run's last step.
    hooks: called in this order; one with `every` 0 after each block. One that raises Stopped ends
      the run before the others are called.
    batch_size: images a step.
    steps_per_call: the longest block.
    left_over: hooks that the run before was to call still when it was asked to stop.

  Returns:
    The steps done, and whether the run was asked to stop.
  """
  windows = [_Window() for _ in hooks]
  try:
    for hook in left_over:
      hook(contracts.Progress(done, {}, 0, 0.0))
  except stopping.Stopped:
    return done, True
  while done < until:
    due = [hook.every - done % hook.every for hook in hooks if hook.every]
    count = min(steps_per_call, until - done, *due)
    start = time.perf_counter()
    block = steps(count)
    seconds = time.perf_counter() - start
    done += block.steps
    for window in windows:
      window.add(block, seconds)
    try:
      for hook, window in zip(hooks, windows, strict=True):
        if not hook.every or done % hook.every == 0 or done == until:
          hook(window.progress(done, batch_size))
          window.__init__()
    except stopping.Stopped:
      return done, True
    if block.stop:
      return done, True
  return done, False


class _Window:
  """The blocks since a hook was last called."""

  def __init__(self):
    self._steps, self._seconds, self._waited = 0, 0.0, 0.0
    self._totals = collections.Counter()

  def add(self, block: Block, seconds: float) -> None:
    self._steps += block.steps
    self._seconds += seconds
    self._waited += block.waited
    self._totals.update({name: value * block.steps for name, value in block.scalars.items()})

  def progress(self, step: int, batch_size: int) -> contracts.Progress:
    means = {name: total / self._steps for name, total in self._totals.items()}
    images = self._steps * batch_size
    return contracts.Progress(step, means, images, self._seconds, self._waited)
