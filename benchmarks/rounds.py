"""Contenders timed by turns, and what their rounds say about one another.

A machine has other work to do and changes its clock, so a speed says little and a ratio of two
speeds, measured a second apart, more. The time on the cores is kept beside the time on the clock:
where others compute too, it is the steadier of the two.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Contender:
  """work: does a round's work and returns how much it was. Untimed: prepare, before; finish, after.

  finish stops all that would go on in the background of the next contender's round.
  """

  work: Callable[[], float]
  prepare: Callable[[], None] = lambda: None
  finish: Callable[[], None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Round:
  """What one round took: amount of work, seconds, of them on the cores and in the kernel."""

  amount: float
  seconds: float
  cpu_seconds: float
  system_seconds: float
  page_faults: int

  @property
  def speed(self) -> float:
    return self.amount / self.seconds

  @property
  def cpu_speed(self) -> float:
    return self.amount / self.cpu_seconds


@dataclasses.dataclass(frozen=True)
class Row:
  """Ours beside a peer. Speeds in `unit` and ratios ours / peer are medians over rounds.

  low, high: the smallest and the largest ratio of a round. cpu_ratio: of work for each second on
  the cores, whoever else used them.
  """

  what: str
  unit: str
  ours: float
  peer_name: str
  peer: float
  ratio: float
  low: float
  high: float
  cpu_ratio: float


def contender(run: Callable[[], object], amount: float) -> Contender:
  """Returns one whose round is a call, which does as much work each time."""
  return Contender(lambda: (run(), amount)[1])


def take_turns(contenders: dict[str, Contender], rounds: int) -> dict[str, list[Round]]:
  """Returns the rounds of each contender, taken by turns after one that does not count."""
  taken = {name: [] for name in contenders}
  for number in range(-1, rounds):
    for name, contender in contenders.items():
      one = _time(contender)
      if number >= 0:
        taken[name].append(one)
  return taken


def compare(
  what: str, unit: str, ours: list[Round], peer_name: str, peer: list[Round], weight: float = 1.0
) -> Row:
  """Returns a row; `weight` turns our unit of work into the peer's, in which both are given."""
  ratios = [weight * a.speed / b.speed for a, b in zip(ours, peer, strict=True)]
  cpu_ratios = [weight * a.cpu_speed / b.cpu_speed for a, b in zip(ours, peer, strict=True)]
  return Row(
    what,
    unit,
    weight * statistics.median(one.speed for one in ours),
    peer_name,
    statistics.median(one.speed for one in peer),
    statistics.median(ratios),
    min(ratios),
    max(ratios),
    statistics.median(cpu_ratios),
  )


def apart(function: Callable, *arguments):
  """Returns what the function, of a module, does in a process of its own.

  It is spawned, so that none meets the threads, the pages or the caches of another.
  """
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
    return executor.submit(function, *arguments).result()


def _time(contender: Contender) -> Round:
  contender.prepare()
  before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
  amount = contender.work()
  seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
  contender.finish()
  system = after.ru_stime - before.ru_stime
  return Round(
    amount,
    seconds,
    after.ru_utime - before.ru_utime + system,
    system,
    after.ru_minflt - before.ru_minflt,
  )
