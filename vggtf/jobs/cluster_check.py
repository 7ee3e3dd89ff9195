"""--job=cluster_check: do all tasks of TF_CONFIG find one another? Run it before a long training.

It is started on every host at once, as the training will be, and needs no TensorFlow: the tasks
greet one another on the ports that TensorFlow will use.
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
from collections.abc import Mapping

import vggtf
from vggtf import errors
from vggtf.training import cluster

_log = logging.getLogger(__name__)
_TELL_EVERY = 10.0  # seconds
_TRY_EVERY = 0.2
_ANSWER_WITHIN = 5.0
_CLUSTER = "the cluster"  # among the facts that all must share
_LONGEST_GREETING = 1 << 16  # bytes; the addresses of a thousand tasks fit


def run(timeout: float = 600.0) -> None:
  """Checks TF_CONFIG, this task's port, that every two tasks reach each other, and their versions.

  Args:
    timeout: seconds to wait for the other tasks.

  Raises:
    UsageError: TF_CONFIG cannot be right, or tasks differ in it, or in a version.
    EnvironmentFault: the port is taken.
    PeerError: a task did not come; it is named.
  """
  found = cluster.read()
  if found is None:
    raise errors.UsageError(
      f"--job=cluster_check needs {cluster.VARIABLE}, which is not set; docs/distributed.md tells "
      "who sets it"
    )
  for warning in cluster.check_hosts(found):
    _log.warning("%s", warning)
  with _listening(found) as server:
    missing = _meet(found, server, timeout)
  if differences := _differences(server):
    raise errors.UsageError("; ".join(differences))
  if missing:
    raise errors.PeerError(
      f"{found.own} still {missing} after {timeout:g} s; start this check on all hosts at once, "
      "and look at their firewalls"
    )
  facts = server.greeting["facts"]
  versions = ", ".join(f"{name} {facts[name]}" for name in facts if name != _CLUSTER)
  print(f"{found.own}: all {len(found.tasks)} tasks reach one another; {versions}")


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
    super().__init__(("", found.own.port), _Greeted)  # all interfaces, as TensorFlow's

  def server_bind(self) -> None:
    if self.address_family == socket.AF_INET6:
      self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    super().server_bind()

  def handle_error(self, request: object, client_address: object) -> None:
    """Passes over what is no greeting, such as a scan of ports."""

  def hear(self, greeting: Mapping) -> None:
    self.heard.setdefault(greeting["task"], {})[greeting["process"]] = greeting["facts"]


class _Greeted(socketserver.StreamRequestHandler):
  timeout = _ANSWER_WITHIN

  def handle(self) -> None:
    greeting = _read(self.rfile)
    self.wfile.write(_line(self.server.greeting))
    self.server.hear(greeting)  # last: who was heard needs us no more


@contextlib.contextmanager
def _listening(found: cluster.Cluster):
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


def _meet(found: cluster.Cluster, server: _Server, timeout: float) -> str:
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
    with socket.create_connection((task.host, task.port), _ANSWER_WITHIN) as connection:
      connection.settimeout(_ANSWER_WITHIN)
      connection.sendall(_line(server.greeting))
      with connection.makefile("rb") as stream:
        return _read(stream)["task"] == task.name
  except (OSError, ValueError):  # not there yet, or something else than this check
    return False


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
