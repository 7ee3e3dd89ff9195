"""Do all tasks of a cluster find one another? They greet one another on the ports of TF_CONFIG.

TensorFlow takes these ports afterwards; the lines between the processes of a run (peers.py) stay.
Needs no TensorFlow.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import logging
import os
import secrets
import socket
import socketserver
import threading
import time
from collections.abc import Iterator, Mapping

import vggtf
from vggtf import errors
from vggtf.training import cluster, peers

_log = logging.getLogger(__name__)
_TELL_EVERY = 10.0  # seconds
_TRY_EVERY = 0.2
_ANSWER_WITHIN = 5.0
_STAY_WITHIN = 30.0  # all were here a moment ago
_CLUSTER = "the cluster"  # among the facts that all must share
_LONGEST_GREETING = 1 << 16  # bytes; the addresses of a thousand tasks fit


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
    return {name: facts[name] for name in facts if name != _CLUSTER}


def join(found: cluster.Cluster, timeout: float, silence: float) -> peers.Peers:
  """Has all tasks meet, and keeps a line to each.

  Args:
    found: all tasks.
    timeout: seconds to wait for the others.
    silence: see `peers.Peers`.

  Raises:
    as `check`.
  """
  rank = found.tasks.index(found.own)
  with _met(found, timeout) as server:
    if rank:
      lines = {0: _dial(found.tasks[0], server)}
    else:
      lines = {found.tasks.index(task): server.line(task) for task in found.peers}
  return peers.Peers([str(task) for task in found.tasks], rank, lines, silence, timeout)


@contextlib.contextmanager
def _met(found: cluster.Cluster, timeout: float) -> Iterator[_Server]:
  """Yields this task's server when every other task was greeted and has greeted this one."""
  unknown = None
  try:
    _check_hosts(found)
  except cluster.UnknownHost as error:  # as that of a pod that has no place yet
    unknown = error
    _log.warning("%s; waiting for it", unknown)
  with _listening(found) as server:
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


class _Server(socketserver.ThreadingTCPServer):
  """Answers greetings with this task's own.

  greeting: what is sent.
  heard: the greetings of others, by task and by the process that sent them.
  """

  allow_reuse_address = True  # nobody listens there any more, that is: else binding still fails
  daemon_threads = True

  def __init__(self, found: cluster.Cluster):
    self.address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    self.greeting = {
      "task": found.own.name,
      "process": secrets.token_hex(8),
      "facts": {
        "vggtf": vggtf.__version__,
        "TensorFlow": _tensorflow_version(),
        _CLUSTER: ", ".join(map(str, found.tasks)),
      },
    }
    self.heard: dict[str, dict[str, Mapping]] = {}
    self._lines: dict[str, socket.socket] = {}
    self._changed = threading.Condition()
    super().__init__(("", found.own.port), _Greeted)  # all interfaces, as TensorFlow's

  def server_bind(self) -> None:
    if self.address_family == socket.AF_INET6:
      self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    super().server_bind()

  def handle_error(self, request: object, client_address: object) -> None:
    """Passes over what is no greeting, such as a scan of ports."""

  def hear(self, greeting: Mapping, request: socket.socket) -> None:
    self.heard.setdefault(greeting["task"], {})[greeting["process"]] = greeting["facts"]
    if greeting.get("stays"):
      with self._changed:
        self._lines[greeting["task"]] = _kept(request.dup())
        self._changed.notify_all()

  def line(self, task: cluster.Task) -> socket.socket:
    """Returns the connection that a task keeps.

    Raises:
      PeerError: it does not call, though it was here before.
    """
    with self._changed:
      if not self._changed.wait_for(lambda: task.name in self._lines, _STAY_WITHIN):
        raise errors.PeerError(f"{task} was lost before the start; its own log says why")
      return self._lines[task.name]

  def shutdown_request(self, request: socket.socket) -> None:
    """Closes a connection; one that stays loses only this handle of it."""
    self.close_request(request)


class _Greeted(socketserver.StreamRequestHandler):
  timeout = _ANSWER_WITHIN

  def handle(self) -> None:
    greeting = _read(self.rfile)
    self.wfile.write(_line(self.server.greeting))
    self.server.hear(greeting, self.request)  # last: who was heard needs us no more


@contextlib.contextmanager
def _listening(found: cluster.Cluster) -> Iterator[_Server]:
  """Yields a server on this task's port, and closes it."""
  try:
    server = _Server(found)
  except OSError as error:
    if error.errno not in (errno.EADDRINUSE, errno.EACCES):
      raise
    port = found.own.port
    raise errors.EnvironmentFault(
      f"port {port} of {found.own} cannot be listened on: {os.strerror(error.errno)}; end the "
      f"process that has it (`ss -ltnp sport = :{port}`), or give another port in "
      f"{cluster.VARIABLE} of all tasks"
    ) from None
  with server:
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
      yield server
    finally:
      server.shutdown()


def _wait(found: cluster.Cluster, server: _Server, timeout: float) -> str:
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


def _greet(task: cluster.Task, server: _Server) -> bool:
  """Returns whether the task answered."""
  try:
    with _call(task, server.greeting, _ANSWER_WITHIN):
      return True
  except (OSError, ValueError):  # not there yet, or something else than this program
    return False


def _dial(task: cluster.Task, server: _Server) -> socket.socket:
  """Returns a connection that stays."""
  try:
    return _kept(_call(task, server.greeting | {"stays": True}, _STAY_WITHIN))
  except (OSError, ValueError) as error:
    raise errors.PeerError(
      f"{task} was lost before the start ({error}); its own log says why"
    ) from None


def _call(task: cluster.Task, greeting: Mapping, within: float) -> socket.socket:
  """Returns a connection on which the task has answered the greeting."""
  connection = socket.create_connection((task.host, task.port), within)
  try:
    connection.sendall(_line(greeting))
    with connection.makefile("rb", buffering=0) as stream:  # reads no more than the answer
      if _read(stream)["task"] != task.name:
        raise ValueError("another task answers")
  except (OSError, ValueError):
    connection.close()
    raise
  return connection


def _kept(connection: socket.socket) -> socket.socket:
  """Returns the connection, made fit for short messages and long silences."""
  connection.settimeout(None)
  connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
  return connection


def _differences(server: _Server) -> list[str]:
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


def _tensorflow_version() -> str:
  """Returns it without importing TensorFlow, under whatever name it was installed."""
  with contextlib.suppress(importlib.metadata.PackageNotFoundError):
    return importlib.metadata.version("tensorflow")  # at once; the search takes a second
  packages = importlib.metadata.packages_distributions().get("tensorflow")
  return importlib.metadata.version(packages[0]) if packages else "not installed"


def _line(greeting: Mapping) -> bytes:
  return json.dumps(greeting).encode() + b"\n"


def _read(stream) -> dict:
  """Returns a greeting; raises ValueError for anything else."""
  greeting = json.loads(stream.readline(_LONGEST_GREETING))
  kinds = {"task": str, "process": str, "facts": dict}
  if not isinstance(greeting, dict) or any(
    not isinstance(greeting.get(name), kind) for name, kind in kinds.items()
  ):
    raise ValueError("no greeting")
  return greeting
