"""The host loop: blocks of steps, and hooks between them."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence

from vggtf import contracts
from vggtf.training import stopping


def run(
  steps: Callable[[int], dict[str, float]],
  done: int,
  until: int,
  hooks: Sequence[contracts.Hook],
  batch_size: int,
  steps_per_call: int,
  stop: stopping.StopRequest,
) -> int:
  """Trains until a step, or until asked to stop.

  A block ends where a hook is due, so hooks see exactly the steps that they asked for.

  Args:
    steps: takes so many steps and returns the means of their scalars.
    done: steps done before.
    until: the run's last step.
    hooks: called in this order; one with `every` 0 after each block.
    batch_size: images a step.
    steps_per_call: the longest block.
    stop: looked at after each block.

  Returns:
    The steps done; fewer than `until` if the run was asked to stop.
  """
  windows = [_Window() for _ in hooks]
  while done < until and not stop.requested:
    due = [hook.every - done % hook.every for hook in hooks if hook.every]
    count = min(steps_per_call, until - done, *due)
    start = time.perf_counter()
    scalars = steps(count)
    seconds = time.perf_counter() - start
    done += count
    for window in windows:
      window.add(scalars, count, seconds)
    for hook, window in zip(hooks, windows, strict=True):
      if not hook.every or done % hook.every == 0 or done == until:
        hook(window.progress(done, batch_size))
        window.__init__()
  return done


class _Window:
  """The blocks since a hook was last called."""

  def __init__(self):
    self._steps, self._seconds, self._totals = 0, 0.0, collections.Counter()

  def add(self, scalars: dict[str, float], steps: int, seconds: float) -> None:
    self._steps += steps
    self._seconds += seconds
    self._totals.update({name: value * steps for name, value in scalars.items()})

  def progress(self, step: int, batch_size: int) -> contracts.Progress:
    means = {name: total / self._steps for name, total in self._totals.items()}
    return contracts.Progress(step, means, self._steps * batch_size, self._seconds)
