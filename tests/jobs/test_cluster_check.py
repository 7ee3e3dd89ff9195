"""Tasks that meet, that do not come, that differ, and a port that is taken: in plain processes."""

import json
import re
import socket
import subprocess
import sys
import threading

import pytest

from tests import commands
from vggtf import errors
from vggtf.jobs import cluster_check
from vggtf.training import greeting, meeting


@pytest.fixture
def ports() -> list[int]:
  """Returns two that were free."""
  with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as two:
    return [server.getsockname()[1] for server in (one, two)]


def config(ports, index=0) -> str:
  workers = [f"127.0.0.1:{port}" for port in ports]
  return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def start(ports, index, before="", timeout=20.0) -> subprocess.Popen:
  program = (
    "import sys\nfrom vggtf import errors\nfrom vggtf.jobs import cluster_check\n"
    f"{before}\n"
    f"sys.exit(errors.run_command(lambda: cluster_check.run({timeout})))"
  )
  return subprocess.Popen(
    [sys.executable, "-c", program],
    env={"TF_CONFIG": config(ports, index)},
    cwd=commands.ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_two_that_meet(ports):
  tasks = [start(ports, index) for index in range(2)]
  for index, task in enumerate(tasks):
    output, error = task.communicate(timeout=60)
    assert task.returncode == 0, error
    assert output.startswith(
      f"worker {index} (127.0.0.1:{ports[index]}): all 2 tasks reach one another; vggtf 0."
    )
    assert re.search(r"TensorFlow \d+\.\d+", output)


def test_two_of_different_versions_both_fail(ports):
  other = "import vggtf; vggtf.__version__ = '9.9'"
  tasks = [start(ports, 0), start(ports, 1, other)]
  for task, mine, theirs in zip(tasks, ("0.1.0", "9.9"), ("9.9", "0.1.0"), strict=True):
    _, error = task.communicate(timeout=60)
    assert task.returncode == 2, error
    assert re.match(rf"vggtf: ERROR 2: vggtf is {mine} for worker \d, {theirs} for", error)


def test_who_does_not_come_is_waited_for_and_named(ports, monkeypatch, caplog):
  monkeypatch.setenv("TF_CONFIG", config(ports))
  monkeypatch.setattr(meeting, "_TELL_EVERY", 0.3)
  with (
    caplog.at_level("INFO", "vggtf"),
    pytest.raises(errors.PeerError, match=rf"waits for worker 1 \(127.0.0.1:{ports[1]}\) after"),
  ):
    cluster_check.run(timeout=1)
  assert errors.PeerError.exit_code == 7
  assert re.match(
    rf"worker 0 waits for worker 1 \(127.0.0.1:{ports[1]}\): \d of 1 s", caplog.messages[0]
  )
  with socket.create_server(("", ports[0])):
    pass  # the port is free again


def test_a_host_that_is_not_known_yet_is_waited_for(ports, monkeypatch, caplog):
  monkeypatch.setenv("TF_CONFIG", config(ports).replace(f"127.0.0.1:{ports[1]}", "none.invalid:1"))
  with pytest.raises(errors.UsageError, match=r"worker 1's host is unknown: given 'none\.invalid'"):
    cluster_check.run(timeout=0.5)
  assert "; waiting for it" in caplog.messages[0]


def test_something_else_on_a_peer_s_port_is_no_peer(ports, monkeypatch):
  monkeypatch.setenv("TF_CONFIG", config(ports))
  with socket.create_server(("127.0.0.1", ports[1])) as stranger:
    thread = threading.Thread(target=_answer, args=(stranger, b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    thread.start()
    with pytest.raises(errors.PeerError, match="waits for worker 1"):
      cluster_check.run(timeout=0)
    thread.join()


def test_a_peer_that_answers_and_cannot_reach_us_is_named(ports, monkeypatch):
  monkeypatch.setenv("TF_CONFIG", config(ports))
  answer = json.dumps({"task": "worker 1", "process": "a", "facts": {}}).encode() + b"\n"
  with socket.create_server(("127.0.0.1", ports[1])) as peer:
    thread = threading.Thread(target=_answer, args=(peer, answer))
    thread.start()
    with pytest.raises(errors.PeerError, match="still is not reached by worker 1"):
      cluster_check.run(timeout=0)
    thread.join()


def _answer(server, answer: bytes) -> None:
  connection, _ = server.accept()
  with connection:
    connection.makefile("rb").readline()
    connection.sendall(answer)


def test_two_processes_with_one_index_are_found(ports, monkeypatch):
  monkeypatch.setenv("TF_CONFIG", config(ports))
  begin = meeting._wait

  def meet(found, server, timeout):
    for process in "ab":
      told = {"task": "worker 1", "process": process, "facts": server.greeting["facts"]}
      with socket.create_connection(("127.0.0.1", ports[0])) as connection:
        connection.sendall(json.dumps(told).encode() + b"\n")
        assert json.loads(connection.makefile().readline())["task"] == "worker 0"
    return begin(found, server, 0.5)

  monkeypatch.setattr(meeting, "_wait", meet)
  with pytest.raises(errors.UsageError, match=r"^two processes are worker 1: give each its own"):
    cluster_check.run()


def test_a_port_that_is_taken(ports, monkeypatch):
  monkeypatch.setenv("TF_CONFIG", config(ports))
  told = rf"port {ports[0]} of worker 0 .*: Address already in use; end the process that has it"
  with (
    socket.create_server(("127.0.0.1", ports[0])),
    pytest.raises(errors.EnvironmentFault, match=told),
  ):
    cluster_check.run()


def test_without_tf_config(monkeypatch):
  monkeypatch.delenv("TF_CONFIG", raising=False)
  with pytest.raises(errors.UsageError, match="needs TF_CONFIG, which is not set"):
    cluster_check.run()


def test_a_public_address_is_warned_of(monkeypatch, caplog):
  """M11."""
  text = config([1, 2]).replace("127.0.0.1:2", "8.8.8.8:2")
  monkeypatch.setenv("TF_CONFIG", text)
  monkeypatch.setattr(greeting, "listening", lambda found: 1 / 0)  # the network stays unused
  with pytest.raises(ZeroDivisionError):
    cluster_check.run()
  assert caplog.messages[0].startswith("worker 1 (8.8.8.8:2) is at the public address 8.8.8.8")


def test_the_timeout_is_a_binding(ports, monkeypatch):
  monkeypatch.setenv("TF_CONFIG", config(ports))
  _, error = commands.run(
    "vggtf.main", "--job=cluster_check", "--gin_param=cluster_check.run.timeout=0.5", code=7
  )
  assert error.startswith("vggtf: ERROR 7: worker 0 (127.0.0.1:")
  assert f"still waits for worker 1 (127.0.0.1:{ports[1]}) after 0.5 s; " in error


def test_the_command_line(monkeypatch):
  monkeypatch.setenv("TF_CONFIG", config([1, 99999]))
  _, error = commands.run("vggtf.main", "--job=cluster_check", code=2)
  assert error.startswith("vggtf: ERROR 2: TF_CONFIG: the port of cluster.worker[1]: given")
