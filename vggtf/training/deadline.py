"""A time by which steps must be done, so that nothing waits without end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from vggtf import errors

T = TypeVar("T")

_COMPILING = 600.0  # seconds


def limit(take: Callable[[int], T], seconds: float | None) -> Callable[[int], T]:
  """Returns a function that takes steps, or else ends the process with 7 and its stacks on stderr.

  Args:
    take: takes so many steps.
    seconds: for each of them, and 10 minutes more for the first call, which compiles; None for any
      time.

  Raises:
    UsageError: no time at all.
  """
  if seconds is None:
    return take
  if seconds <= 0:
    raise errors.UsageError(f"train.run.step_deadline = {seconds}: expected seconds, more than 0")

  extra = [_COMPILING]

  def limited(count: int) -> T:
    whole = seconds * count + (extra.pop() if extra else 0)
    late = errors.PeerError(
      f"{count} steps are not done after {whole:g} s, {seconds:g} s for each "
      "(train.run.step_deadline); the stacks above say where they are; start all processes again"
    )
    timer = threading.Timer(whole, errors.end_at_once, [late])
    timer.daemon = True
    timer.start()
    try:
      return take(count)
    finally:
      timer.cancel()

  return limited
