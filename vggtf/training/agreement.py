"""What the processes of a run must agree on before they start, and whenever one of them measures.

Without it, processes that resume at different steps train on without a word, each towards weights
of its own.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence

from vggtf import errors, metrics
from vggtf.training import peers as others
from vggtf.training import saving, stopping

AHEAD = 2  # checkpoints that a process may hold and another not yet

_log = logging.getLogger(__name__)


def require(peers: others.Peers, **texts: str) -> None:
  """Compares this process's start with that of all others.

  Args:
    peers: the processes.
    **texts: what must be the same, by name.

  Raises:
    UsageError: in every process, if one differs; it names what, and in whom.
  """
  digests = {name: hashlib.sha256(one.encode()).hexdigest() for name, one in texts.items()}
  found = peers.exchange(digests)
  for name in texts:
    differ = [
      task for task, one in zip(peers.names, found, strict=True) if one[name] != found[0][name]
    ]
    if differ:
      raise errors.UsageError(
        f"{' and '.join(differ)} and {peers.names[0]} have different {name}; give all of them the "
        "same flags, data and version of vggtf"
      )


def newest_step(peers: others.Peers, sound: Sequence[int]) -> int | None:
  """Returns the newest step of which all processes hold a sound checkpoint.

  Each saves in a thread of its own, and begins no save before its last one is done: so one that is
  killed may be two checkpoints behind. Where these were the first, they begin anew.

  Args:
    peers: the processes.
    sound: the steps of this one's sound checkpoints.

  Returns:
    The step; None where they begin anew.

  Raises:
    IntegrityError: in every process, if they hold checkpoints, but not of one step.
  """
  held = [set(steps) for steps in peers.exchange(list(sound))]
  common = max(set.intersection(*held), default=None)
  newest = max(set.union(*held), default=None)
  told = "; ".join(
    f"{name} holds {', '.join(map(str, sorted(steps))) or 'none'}"
    for name, steps in zip(peers.names, held, strict=True)
  )
  first_was_cut_short = not all(held) and len(set.union(*held)) <= AHEAD
  if common is None and newest is not None and not first_was_cut_short:
    raise errors.IntegrityError(
      f"the processes hold no checkpoint of one and the same step ({told}); those of one step are "
      "equal: copy one into the --workdir of each process that lacks it"
    )
  if newest != common:
    _log.warning(
      "not all processes hold the checkpoint of step %d (%s): going on from %s",
      newest,
      told,
      "the beginning" if common is None else f"step {common}, the newest that all hold",
    )
  return common


def attempts(peers: others.Peers, keep: int) -> int:
  """Returns how many saves in a row may fail in one process; the last of them ends the run.

  The others go on saving meanwhile, and must not drop the last checkpoint that all hold.

  Args:
    peers: the processes.
    keep: how many checkpoints each keeps.

  Raises:
    UsageError: so few that not even one may fail.
  """
  if len(peers.names) == 1:
    return saving.ATTEMPTS
  if keep <= AHEAD:
    raise errors.UsageError(
      f"train.run.keep_checkpoints = {keep}: expected at least {AHEAD + 1} for several processes, "
      "for one may be that far ahead when another is killed"
    )
  return min(saving.ATTEMPTS, keep - AHEAD)


def share(peers: others.Peers) -> dict[str, int]:
  """Returns by which keywords an evaluator measures this process's images; none where it is alone.

  Image number n is that of process n modulo their number (contracts.Evaluator).
  """
  return {"worker": peers.rank, "workers": len(peers.names)} if len(peers.names) > 1 else {}


def measurement(
  peers: others.Peers, measure: Callable[[], dict[str, metrics.Mean] | None]
) -> dict[str, metrics.Mean]:
  """Measures a share in every process, and returns the sums, for all to go by.

  Args:
    peers: the processes.
    measure: measures this one's share; returns None if it was broken off.

  Raises:
    Stopped: in every process, if it was broken off in one.
    EnvironmentFault: in every process, if it failed in another; the one where it failed raises the
      error itself.
  """
  failure, parts = None, {}
  try:
    measured = measure()
    parts = measured and {k: (float(one.total), float(one.weight)) for k, one in measured.items()}
  except Exception as error:  # raised below, once the others know
    failure = error
  told = peers.exchange([parts, failure and others.describe(failure)])
  if failure:
    raise failure
  for name, (_, failed) in zip(peers.names, told, strict=True):
    if failed:
      raise errors.EnvironmentFault(f"{name} could not measure: {failed}")
  if any(found is None for found, _ in told):
    raise stopping.Stopped
  return metrics.combine([found for found, _ in told])
