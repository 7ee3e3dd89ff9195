"""--job=launch --workers=N: trains in N processes of this machine, which it starts and watches.

Each gets the launcher's own command line and a TF_CONFIG of its own, with addresses on this
machine only. It does not outlive the launcher, however that ends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

from vggtf import children, errors
from vggtf import workdir as workdirs
from vggtf.training import cluster

_log = logging.getLogger(__name__)

# What a restart mends: lost peers, a stop after a checkpoint, and a kill from outside (memory).
_MENDED = (
  errors.PeerError.exit_code,
  errors.Preempted.exit_code,
  128 + signal.SIGKILL,
  128 + signal.SIGTERM,
)
_LAST_WORDS_WITHIN = 5.0  # a process that a worker left behind may keep its outputs open


def run(
  workers: int,
  workdir: str,
  command_line: Sequence[str],
  restarts: int = 3,
  grace: float = 60.0,
  program: Sequence[str] = (sys.executable, "-m", "vggtf.main"),
) -> int:
  """Runs a training in several processes, and starts all of them again where that can help.

  Args:
    workers: how many processes.
    workdir: of the first worker; that of worker i is the folder workers/i in it.
    command_line: the launcher's flags, which the workers are given too.
    restarts: how often the workers are started again at most.
    grace: seconds that the others have to end by themselves once one has failed, and once more
      after they were told to.
    program: what a worker runs.

  Returns:
    0, or the exit code of the worker that failed first, other than by losing another. 42 after a
    signal to the launcher, where a worker saved a checkpoint.

  Raises:
    UsageError: a count is none, or TF_CONFIG is set already.
  """
  if workers < 1 or restarts < 0:
    raise errors.UsageError(
      f"--workers={workers} --restarts={restarts}: expected at least 1 worker and 0 restarts"
    )
  if os.environ.get(cluster.VARIABLE):
    raise errors.UsageError(
      f"{cluster.VARIABLE} is set, and --job=launch makes one for each worker: unset it, or start "
      "one task on each host with --job=train"
    )
  folders = [str(workdirs.Workdir(workdir).of_worker(index).path) for index in range(workers)]
  commands = [  # the last of several equal flags is the one that counts
    [*program, *command_line, "--job=train", f"--workdir={folder}"] for folder in folders
  ]
  with children.signals() as signals:
    for restart in range(restarts + 1):
      with _started(commands) as processes:
        codes = _wait(processes, signals, grace)
      code = _cause(codes)
      if signals and errors.Preempted.exit_code in codes:
        return errors.Preempted.exit_code
      if signals or restart == restarts or code not in _MENDED:
        return code
      _log.warning("all workers are started again, %d of %d times", restart + 1, restarts)


def _cause(codes: Sequence[int]) -> int:
  """Returns the first code; a later one where the first only tells that a peer was lost."""
  own = [code for code in codes if code != errors.PeerError.exit_code]
  return [*own, *codes, 0][0]


@contextlib.contextmanager
def _started(commands: Sequence[Sequence[str]]) -> Iterator[list[subprocess.Popen]]:
  """Yields a process for each command, as the workers of one cluster; kills what is left of them.

  What they print goes to the launcher's own outputs, each line behind the worker's number.
  """
  addresses = _free_addresses(len(commands))
  outputs = threading.Lock()
  processes, relays = [], []
  try:
    for index, command in enumerate(commands):
      config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
      process = children.start(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, cluster.VARIABLE: json.dumps(config), "PYTHONUNBUFFERED": "1"},
      )
      processes.append(process)
      for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
        arguments = (f"[worker {index}] ".encode(), source, target.fileno(), outputs)
        relays.append(threading.Thread(target=_relay, args=arguments, daemon=True))
        relays[-1].start()
    yield processes
  finally:
    for process in processes:
      process.kill()
      process.wait()
    for relay in relays:
      relay.join(_LAST_WORDS_WITHIN)


def _wait(processes: Sequence[subprocess.Popen], signals: Sequence[int], grace: float) -> list[int]:
  """Waits for all workers, and passes on the signals that come.

  Once one has failed, the others have `grace` seconds to end too; then they are told to stop, and
  after as long again killed: a worker that waits for a lost one may do so for ever.

  Returns:
    The exit codes that are not 0, in the order in which the workers ended.
  """
  failed: dict[int, int] = {}
  passed_on = 0
  measures = [signal.SIGKILL, signal.SIGTERM]
  deadline = math.inf
  while True:
    running = False
    for index, process in enumerate(processes):
      code = children.exit_code(process)
      running = running or code is None
      if code and index not in failed:
        failed[index] = code
        _log.warning("worker %d ended with exit code %d", index, failed[index])
    if not running:
      return list(failed.values())
    if failed and deadline == math.inf:
      deadline = time.monotonic() + grace
    told = list(signals[passed_on:])
    passed_on += len(told)
    if time.monotonic() > deadline and measures:
      told.append(measures.pop())
      deadline = time.monotonic() + grace
    for number in told:
      for process in processes:
        process.send_signal(number)
    time.sleep(children.POLL_EVERY)


def _relay(prefix: bytes, source: IO[bytes], target: int, outputs: threading.Lock) -> None:
  """Copies lines from a worker's output, each behind the prefix, until it is closed."""
  for line in source:
    rest = prefix + line.rstrip(b"\r\n") + b"\n"
    with outputs, contextlib.suppress(OSError):  # the worker goes on, whether it is read or not
      while rest:
        rest = rest[os.write(target, rest) :]


def _free_addresses(count: int) -> list[str]:
  """Returns addresses on this machine that nobody listens on now."""
  with contextlib.ExitStack() as stack:
    servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
    return [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
