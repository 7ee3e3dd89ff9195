"""The line between processes: three of them in threads of this one, and real ones, stopped."""

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests import commands
from vggtf import errors
from vggtf.training import cluster, meeting, peers

NAMES = ("worker 0 (a:1)", "worker 1 (b:1)", "worker 2 (c:1)")


@pytest.fixture(autouse=True)
def ended(monkeypatch):
  """Returns what would have ended this process, and when."""
  found = []
  called = threading.Event()

  def end(error):
    found.append(str(error))
    called.set()

  monkeypatch.setattr(errors, "end_at_once", end)
  monkeypatch.setattr(peers, "_ALIVE_EVERY", 0.05)
  monkeypatch.setattr(peers, "_LAST_WORDS_WITHIN", 0.2)
  return found, called


@pytest.fixture
def three():
  """Returns the three ends of the lines between three processes, and the sockets of the first."""
  pairs = [socket.socketpair() for _ in NAMES[1:]]
  first = peers.Peers(NAMES, 0, {at: pair[0] for at, pair in enumerate(pairs, 1)}, 5.0, 30.0)
  others = [peers.Peers(NAMES, at, {0: pair[1]}, 5.0, 30.0) for at, pair in enumerate(pairs, 1)]
  yield [first, *others], pairs
  for at, one in enumerate([first, *others]):
    if not one._closing:
      one.__exit__(None, None, None)
    for pair in pairs:
      pair[at > 0].close()


def together(*calls):
  """Calls each function in a thread; returns what they return, or the errors that they raise."""
  with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
    futures = [pool.submit(call) for call in calls]
    return [future.exception(30) or future.result(30) for future in futures]


def test_every_process_gets_what_all_gave_in_the_order_of_their_ranks(three):
  ends, _ = three
  for turn in range(3):
    found = together(*[lambda e=end, v=(turn, at): e.exchange(v) for at, end in enumerate(ends)])
    assert found == [[[turn, 0], [turn, 1], [turn, 2]]] * 3


def test_a_process_alone_gets_its_own():
  with peers.Peers() as alone:
    assert alone.exchange({"a": 1}) == [{"a": 1}]
    alone.ask_to_stop()


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_who_is_asked_to_stop_tells_all_others_once(three, asked):
  ends, _ = three
  heard = [[] for _ in ends]
  for end, told in zip(ends, heard, strict=True):
    end.on_stop(told.append)
  ends[asked].ask_to_stop()
  together(*[lambda e=end: e.exchange(None) for end in ends])  # messages keep their order
  told = f"{NAMES[asked]} was asked to stop"
  assert heard == [[] if at == asked else [told] for at in range(3)]
  late = []
  ends[asked - 1].on_stop(late.append)
  assert late == [told]


def test_a_failure_is_told_with_its_origin(three, ended):
  """M7."""
  ends, _ = three

  def fail():
    with ends[1]:
      raise errors.IntegrityError("train-00001 record 7 is damaged;\n convert the data again")

  told = "worker 1 (b:1) ended: ERROR 4: train-00001 record 7 is damaged; convert the data again"
  failure, first, last = together(fail, lambda: ends[0].exchange(1), lambda: ends[2].exchange(1))
  assert isinstance(failure, errors.IntegrityError)
  for found in (first, last):
    assert isinstance(found, errors.PeerError)
    assert str(found) == f"{told}; start all of them again"
  for end in (ends[0], ends[2]):
    assert end.lost == told
    assert str(end.error()) == f"{told}; start all of them again"
  assert ended[1].wait(30)  # who waits for a lost process in TensorFlow, waits no longer
  assert ended[0][0] == f"{told}; start all of them again"


def test_who_ends_in_order_is_not_missed(three, ended):
  ends, _ = three

  def stop(end):
    with end:
      raise errors.Preempted("saved")

  with contextlib.suppress(errors.Preempted):
    stop(ends[2])
  for end in (ends[1], ends[0]):
    end.__exit__(None, None, None)
  assert [end.lost for end in ends] == [None] * 3
  assert not ended[0]


def test_who_breaks_off_is_named_to_all(three):
  """M3."""
  ends, pairs = three
  pairs[1][1].shutdown(socket.SHUT_RDWR)
  found = together(lambda: ends[0].exchange(1), lambda: ends[1].exchange(1))
  told = "worker 2 (c:1) was lost; its own log says why; start all of them again"
  assert [str(one) for one in found] == [told] * 2


def test_who_leaves_because_another_was_lost_is_not_taken_for_the_cause(three):
  ends, pairs = three
  pairs[1][1].shutdown(socket.SHUT_RDWR)

  def leave(end):
    with end:
      end.exchange(1)

  found = together(lambda: leave(ends[1]), lambda: leave(ends[0]))
  assert [str(one)[:14] for one in found] == ["worker 2 (c:1)"] * 2


def test_a_process_that_does_not_come_to_an_exchange_is_named(three):
  ends, _ = three
  ends[0]._timeout = 0.3

  def wait(end):
    with end:
      end.exchange(1)

  found = together(lambda: wait(ends[0]), lambda: wait(ends[1]))
  told = "waited 0.3 s for worker 2 (c:1); see their logs; start all of them again"
  assert [str(one) for one in found] == [told] * 2
  assert str(ends[2].error()) == told


def addresses(count: int) -> list[str]:
  """Returns some that were free."""
  with contextlib.ExitStack() as stack:
    servers = [stack.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
    return [f"localhost:{server.getsockname()[1]}" for server in servers]


def parse(workers: list[str], index: int) -> cluster.Cluster:
  return cluster.parse(
    json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
  )


def test_tasks_join_over_their_ports_and_leave_these_free():
  workers = addresses(3)
  found = together(*[lambda at=at: meeting.join(parse(workers, at), 30, 5) for at in range(3)])
  values = together(*[lambda e=end, at=at: e.exchange(at) for at, end in enumerate(found)])
  assert values == [[0, 1, 2]] * 3
  assert found[0].names[2] == f"worker 2 ({workers[2]})"
  for address in workers:  # TensorFlow's servers come next
    socket.create_server(("localhost", int(address.rpartition(":")[2]))).close()
  together(*[lambda e=end: e.__exit__(None, None, None) for end in found])
  assert [end.lost for end in found] == [None] * 3


STUCK = """
import time
from vggtf.training import cluster, meeting, peers
peers._ALIVE_EVERY = peers._LAST_WORDS_WITHIN = 0.5
line = meeting.join(cluster.read(), 60, 1.5)
print("joined", flush=True)
with line:
  time.sleep(600)  # as in a sum that waits for the other
"""


def start(program: str, workers: list[str], index: int) -> subprocess.Popen:
  task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
  return subprocess.Popen(
    [sys.executable, "-c", program],
    env={**os.environ, "PYTHONPATH": str(commands.ROOT), "TF_CONFIG": json.dumps(task)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


@pytest.mark.parametrize("stuck", [0, 1])
def test_a_stopped_process_is_named_and_both_end_with_their_stacks(stuck):
  """M4, P7: SIGSTOP ends the other with 7; the stopped one ends too, once it goes on."""
  workers = addresses(2)
  both = [start(STUCK, workers, at) for at in range(2)]
  try:
    for one in both:
      assert one.stdout.readline() == "joined\n", one.stderr.read()
    both[stuck].send_signal(signal.SIGSTOP)
    _, error = both[1 - stuck].communicate(timeout=60)
    assert both[1 - stuck].returncode == 7
    told = f"worker {stuck} ({workers[stuck]}) is stuck: no sign of life for 1.5 s"
    assert error.endswith(f"vggtf: ERROR 7: {told}; start all of them again\n")
    assert 'File "<string>", line 8 in <module>' in error  # where it waited
    both[stuck].send_signal(signal.SIGCONT)
    _, error = both[stuck].communicate(timeout=60)
    assert both[stuck].returncode == 7
    assert error.endswith("; start all of them again\n")
    assert 'File "<string>", line 8 in <module>' in error
  finally:
    for one in both:
      one.kill()


WAITING = """
from vggtf.training import cluster, meeting
meeting.join(cluster.read(), 600, 15)
"""


def test_who_waits_for_another_is_ended_by_the_signal():
  """P8."""
  workers = addresses(2)
  waiting = start(WAITING, workers, 0)
  with socket.create_server(("localhost", int(workers[1].rpartition(":")[2]))) as absent:
    absent.accept()[0].close()  # it has called
    waiting.terminate()
    assert waiting.wait(60) == -signal.SIGTERM
