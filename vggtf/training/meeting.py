"""Do all tasks of a cluster find one another? They greet one another on the ports of TF_CONFIG.

TensorFlow takes these ports afterwards; the lines between the processes of a run (peers.py) stay.
Needs no TensorFlow.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Iterator

from vggtf import errors
from vggtf.training import cluster, greeting, peers

_log = logging.getLogger(__name__)
_TELL_EVERY = 10.0  # seconds
_TRY_EVERY = 0.2
_WEEK = 7 * 24 * 3600.0  # whoever lives is waited for: machines are of different speeds


def check(found: cluster.Cluster, timeout: float) -> dict[str, str]:
  """Has all tasks meet, and part again.

  Args:
    found: all tasks.
    timeout: seconds to wait for the others.

  Returns:
    The versions that all have, by name.

  Raises:
    UsageError: a host is still unknown, or tasks differ in the cluster or in a version.
    EnvironmentFault: this task's port is taken.
    PeerError: a task did not come; it is named.
  """
  with _met(found, timeout) as server:
    facts = server.greeting["facts"]
    return {name: facts[name] for name in facts if name != greeting.CLUSTER}


def tasks(timeout: float = 600.0, silence: float = 15.0) -> peers.Peers:
  """Has all tasks of TF_CONFIG meet, for work that each does alone; gin/with/shares.gin binds it.

  Args:
    timeout: seconds until all must have come.
    silence: see `peers.Peers`.

  Raises:
    UsageError: TF_CONFIG is not set; else as `check`.
  """
  return join(cluster.require("meeting.tasks"), timeout, silence, _WEEK)


def join(
  found: cluster.Cluster, timeout: float, silence: float, patience: float | None = None
) -> peers.Peers:
  """Has all tasks meet, and keeps a line to each.

  Args:
    found: all tasks.
    timeout: seconds to wait for the others.
    silence: see `peers.Peers`.
    patience: seconds that an exchange may take; as long as they may take to come by default.

  Raises:
    as `check`.
  """
  rank = found.tasks.index(found.own)
  with _met(found, timeout) as server:
    if rank:
      lines = {0: _dial(found.tasks[0], server)}
    else:
      lines = {found.tasks.index(task): server.line(task) for task in found.peers}
  names = [str(task) for task in found.tasks]
  return peers.Peers(names, rank, lines, silence, patience or timeout)


@contextlib.contextmanager
def _met(found: cluster.Cluster, timeout: float) -> Iterator[greeting.Server]:
  """Yields this task's server when every other task was greeted and has greeted this one."""
  unknown = None
  try:
    _check_hosts(found)
  except cluster.UnknownHost as error:  # as that of a pod that has no place yet
    unknown = error
    _log.warning("%s; waiting for it", unknown)
  with greeting.listening(found) as server:
    missing = _wait(found, server, timeout)
    if unknown:
      _check_hosts(found)
    if differences := _differences(server):
      raise errors.UsageError("; ".join(differences))
    if missing:
      raise errors.PeerError(
        f"{found.own} still {missing} after {timeout:g} s; start all tasks at once, and look at "
        "their logs and at their hosts' firewalls"
      )
    yield server


def _check_hosts(found: cluster.Cluster) -> None:
  for warning in cluster.check_hosts(found):
    _log.warning("%s", warning)


def _wait(found: cluster.Cluster, server: greeting.Server, timeout: float) -> str:
  """Returns when every other task was greeted and has greeted this one.

  Returns:
    What this task still waits for when the time is over; nothing where all came.
  """
  begin = told = time.monotonic()
  greeted: set[str] = set()
  while True:
    greeted |= {
      task.name for task in found.peers if task.name not in greeted and _greet(task, server)
    }
    absent = [str(task) for task in found.peers if task.name not in greeted]
    deaf = [str(task) for task in found.peers if task.name in greeted - server.heard.keys()]
    waiting = [f"waits for {', '.join(absent)}"] if absent else []
    waiting += [f"is not reached by {', '.join(deaf)}"] if deaf else []
    now = time.monotonic()
    if not waiting or now - begin >= timeout:
      return " and ".join(waiting)
    if now - told >= _TELL_EVERY:
      told = now
      _log.info("%s %s: %.0f of %g s", found.own.name, " and ".join(waiting), now - begin, timeout)
    time.sleep(_TRY_EVERY)


def _greet(task: cluster.Task, server: greeting.Server) -> bool:
  """Returns whether the task answered."""
  try:
    with greeting.call(task, server.greeting):
      return True
  except (OSError, ValueError):  # not there yet, or something else than this program
    return False


def _dial(task: cluster.Task, server: greeting.Server) -> socket.socket:
  """Returns a connection that stays."""
  try:
    return greeting.keep(task, server.greeting)
  except (OSError, ValueError) as error:
    raise errors.PeerError(
      f"{task} was lost before the start ({error}); its own log says why"
    ) from None


def _differences(server: greeting.Server) -> list[str]:
  """Returns in what the other tasks differ from this one."""
  own = server.greeting
  found = []
  for task, processes in sorted(server.heard.items()):
    if len(processes | ({own["process"]: {}} if task == own["task"] else {})) > 1:
      found.append(f"two processes are {task}: give each its own task.index")
    for facts in processes.values():
      for name, value in own["facts"].items():
        if facts.get(name) != value:
          found.append(f"{name} is {value} for {own['task']}, {facts.get(name)} for {task}")
  return found
