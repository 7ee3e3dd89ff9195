"""Greetings between the tasks of a cluster, over the ports that TensorFlow will take."""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import os
import secrets
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping

import vggtf
from vggtf import errors
from vggtf.training import cluster

_ANSWER_WITHIN = 5.0  # seconds
_STAY_WITHIN = 30.0  # from one that was here a moment ago
CLUSTER = "the cluster"  # among the facts that all must share
_LONGEST = 1 << 16  # bytes; the addresses of a thousand tasks fit


class Server(socketserver.ThreadingTCPServer):
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
        CLUSTER: ", ".join(map(str, found.tasks)),
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
        self._lines[greeting["task"]] = _lasting(request.dup())
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
def listening(found: cluster.Cluster) -> Iterator[Server]:
  """Yields a server on this task's port, and closes it."""
  try:
    server = Server(found)
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


def call(task: cluster.Task, greeting: Mapping, within: float = _ANSWER_WITHIN) -> socket.socket:
  """Returns a connection on which the task has answered the greeting.

  Raises:
    OSError: it is not there.
    ValueError: something else than this program is.
  """
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


def keep(task: cluster.Task, greeting: Mapping) -> socket.socket:
  """Returns a connection that the task gets from its `Server.line`; raises as `call`."""
  return _lasting(call(task, {**greeting, "stays": True}, _STAY_WITHIN))


def _lasting(connection: socket.socket) -> socket.socket:
  """Makes a connection fit for short messages and long silences."""
  connection.settimeout(None)
  connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
  return connection


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
  greeting = json.loads(stream.readline(_LONGEST))
  kinds = {"task": str, "process": str, "facts": dict}
  if not isinstance(greeting, dict) or any(
    not isinstance(greeting.get(name), kind) for name, kind in kinds.items()
  ):
    raise ValueError("no greeting")
  return greeting
