"""The cluster that TF_CONFIG describes, checked before TensorFlow starts.

TensorFlow itself takes a port like 99999, ends without a message where a host is unknown, and waits
for ever for a task that two workers believe to be. So all is checked here, and nothing of it is
needed for that: this module does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import json
import os
import re
import socket
from collections.abc import Mapping

from vggtf import errors

VARIABLE = "TF_CONFIG"
TYPES = ("chief", "worker")  # in the order of their ranks

_ADDRESS = re.compile(
  r"(?:\[(?P<ipv6>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>[0-9]+)"
)
_EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": ...}'
_TASK_EXAMPLE = '"task": {"type": "worker", "index": 0}'


class UnknownHost(errors.UsageError):
  """A task's host has no address here, or not yet."""


@dataclasses.dataclass(frozen=True)
class Task:
  """A process of the cluster.

  name: its type and index, such as "worker 1".
  host: a name or an IP address.
  port: 1 to 65535.
  """

  name: str
  host: str
  port: int

  @property
  def address(self) -> str:
    """Returns host:port, an IPv6 host in brackets."""
    return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

  def __str__(self) -> str:
    return f"{self.name} ({self.address})"


@dataclasses.dataclass(frozen=True)
class Cluster:
  """All tasks, by rank, and which of them this process is."""

  tasks: tuple[Task, ...]
  own: Task

  @property
  def peers(self) -> tuple[Task, ...]:
    """Returns the other tasks."""
    return tuple(task for task in self.tasks if task != self.own)


def read(environment: Mapping[str, str] = os.environ) -> Cluster | None:
  """Returns the cluster of the environment's TF_CONFIG; None where it is not set, or empty.

  Raises:
    UsageError: it cannot be right; see `parse`.
  """
  text = environment.get(VARIABLE, "").strip()
  return parse(text) if text else None


def require(by: str) -> Cluster:
  """Returns the cluster of the environment's TF_CONFIG.

  Args:
    by: what needs it, for the message.

  Raises:
    UsageError: it is not set, or cannot be right; see `parse`.
  """
  found = read()
  if found is None:
    raise errors.UsageError(
      f"{by} needs {VARIABLE}, which is not set: it lists the processes and tells this one which "
      "it is; docs/distributed.md tells who sets it"
    )
  return found


def check_used(processes: int) -> None:
  """Raises UsageError where TF_CONFIG lists processes that do not take part in a training.

  Args:
    processes: how many do.
  """
  found = read()
  if found and len(found.tasks) > processes:
    raise errors.UsageError(
      f"{VARIABLE} lists {len(found.tasks)} processes, but each would train a net of its own: add "
      f"--gin_file=gin/with/multi_worker.gin, or unset {VARIABLE}"
    )


def parse(text: str) -> Cluster:
  """Returns the cluster that a TF_CONFIG describes. Nothing is looked up; see `check_hosts`.

  Raises:
    UsageError: it is not JSON, a field is missing or of another type, the task is not in the
      cluster, an address is no host:port, or two tasks have the same.
  """
  try:
    config = json.loads(text)
  except ValueError as error:
    raise _wrong("is not JSON", f"{error}: {_shorten(text)}", _EXAMPLE) from None
  if not isinstance(config, dict):
    raise _wrong("is no JSON object", _shorten(text), _EXAMPLE)
  cluster = _cluster(config)
  own = _own(config, cluster)
  tasks = [
    _task(kind, index, address)
    for kind in TYPES
    for index, address in enumerate(cluster.get(kind, []))
  ]
  taken: dict[tuple[str, int], Task] = {}
  for task in tasks:
    other = taken.setdefault((task.host.lower(), task.port), task)
    if other is not task:
      raise _same_address(other, task, task.address)
  return Cluster(tuple(tasks), next(task for task in tasks if task.name == own))


def check_hosts(cluster: Cluster) -> list[str]:
  """Looks all hosts up and returns warnings, a line each, about addresses that are public.

  Raises:
    UnknownHost: a task's.
    UsageError: two tasks have the same address under two names.
  """
  warnings = []
  taken: dict[tuple[str, int], Task] = {}
  for task in cluster.tasks:
    try:
      found = socket.getaddrinfo(task.host, task.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
      reason = getattr(error, "strerror", None) or error
      raise UnknownHost(
        f"{VARIABLE}: {task.name}'s host is unknown: given {task.host!r} ({reason}); expected a "
        "name or an IP address that this machine can look up; try `getent hosts`"
      ) from None
    address = found[0][4][0]
    other = taken.setdefault((address, task.port), task)
    if other is not task:
      raise _same_address(other, task, f"{address} port {task.port}")
    if ipaddress.ip_address(address.partition("%")[0]).is_global:
      warnings.append(
        f"{task} is at the public address {address}: TensorFlow listens on all interfaces and "
        "asks nobody for a password; use a private network, or a firewall that admits only the "
        "cluster's hosts"
      )
  return warnings


def _cluster(config: dict) -> dict[str, list]:
  """Returns the addresses by type of task."""
  if "cluster" not in config:
    raise _wrong("cluster is missing", _keys(config), _EXAMPLE)
  cluster = config["cluster"]
  if not isinstance(cluster, dict) or not cluster:
    raise _wrong("cluster names no tasks", _shorten(json.dumps(cluster)), _EXAMPLE)
  for kind, addresses in cluster.items():
    if kind not in TYPES:
      raise _wrong("cluster has an unknown type", _given(kind), _known(kind, TYPES))
    if not isinstance(addresses, list) or not addresses:
      raise _wrong(f"cluster.{kind} is no list", _shorten(json.dumps(addresses)), '["host0:2222"]')
  if len(cluster.get("chief", [])) > 1:
    raise _wrong("cluster.chief", f"{len(cluster['chief'])} addresses", "one: the rest are workers")
  return cluster


def _own(config: dict, cluster: dict[str, list]) -> str:
  """Returns the name of this process's task."""
  task = config.get("task")
  if not isinstance(task, dict):
    given = "nothing" if task is None else _shorten(json.dumps(task))
    raise _wrong("task is missing", given, _TASK_EXAMPLE)
  for field in ("type", "index"):
    if field not in task:
      raise _wrong(f"task.{field} is missing", _keys(task), _TASK_EXAMPLE)
  kind, index = task["type"], task["index"]
  if kind not in list(cluster):  # a list has no hash, but can be compared
    raise _wrong("task.type is not in the cluster", _given(kind), _known(kind, cluster))
  if isinstance(index, str) and index.isdecimal():  # TensorFlow takes "1" too
    index = int(index)
  count = len(cluster[kind])
  if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
    raise _wrong(
      "task.index",
      _given(index),
      f"0 to {count - 1}, for cluster.{kind} has {count} of them: give each process its own index",
    )
  return f"{kind} {index}"


def _task(kind: str, index: int, address: object) -> Task:
  field = f"cluster.{kind}[{index}]"
  parts = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
  if parts is None:
    raise _wrong(field, _given(address), '"host:port", such as "10.0.0.1:2222" or "[fd00::1]:2222"')
  port = int(parts["port"])
  if not 1 <= port <= 65535:
    raise _wrong(f"the port of {field}", _given(address), "a port from 1 to 65535")
  return Task(f"{kind} {index}", parts["ipv6"] or parts["host"], port)


def _wrong(field: str, given: str, expected: str) -> errors.UsageError:
  return errors.UsageError(f"{VARIABLE}: {field}: given {given}; expected {expected}")


def _same_address(one: Task, other: Task, address: str) -> errors.UsageError:
  return _wrong(
    "two tasks have one address", f"{address} for {one} and {other}", "an address for each task"
  )


def _given(value: object) -> str:
  return _shorten(json.dumps(value))


def _known(given: object, known: tuple[str, ...] | dict) -> str:
  names = " or ".join(json.dumps(name) for name in known)
  close = difflib.get_close_matches(str(given), list(known), 1)
  return names + (f" (did you mean {close[0]}?)" if close else "")


def _keys(found: dict) -> str:
  return f"only {', '.join(map(json.dumps, found))}" if found else "nothing"


def _shorten(text: str) -> str:
  return text if len(text) <= 100 else text[:97] + "..."
