"""What TF_CONFIG may say, and what is told of it when it cannot be right."""

import json
import socket
import subprocess
import sys

import pytest

from vggtf import errors
from vggtf.training import cluster

TWO = ["10.0.0.1:2222", "10.0.0.2:2222"]


def config(workers=TWO, kind="worker", index=0, **more) -> str:
  return json.dumps(
    {"cluster": {"worker": workers, **more}, "task": {"type": kind, "index": index}}
  )


def test_a_cluster_of_two():
  found = cluster.parse(config(index=1))
  assert str(found.own) == "worker 1 (10.0.0.2:2222)"
  assert [str(task) for task in found.peers] == ["worker 0 (10.0.0.1:2222)"]
  assert found.tasks == (*found.peers, found.own)


def test_the_chief_comes_first_as_in_tensorflow(monkeypatch):
  text = config(chief=["[fd00::1]:2222"], kind="worker", index="1")
  found = cluster.parse(text)
  assert [task.name for task in found.tasks] == ["chief 0", "worker 0", "worker 1"]
  assert (found.tasks[0].host, found.tasks[0].port) == ("fd00::1", 2222)

  import tensorflow as tf
  from tensorflow.python.distribute import multi_worker_util

  monkeypatch.setenv("TF_CONFIG", text)
  theirs = tf.distribute.cluster_resolver.TFConfigClusterResolver()
  rank = multi_worker_util.id_in_cluster(
    theirs.cluster_spec(), theirs.task_type, int(theirs.task_id)
  )
  assert found.tasks[rank] == found.own
  for task in found.tasks:
    kind, index = task.name.split()
    assert theirs.cluster_spec().task_address(kind, int(index)) == task.address


@pytest.mark.parametrize("environment", [{}, {"TF_CONFIG": ""}, {"TF_CONFIG": " \n"}])
def test_no_cluster(environment):
  assert cluster.read(environment) is None


def test_the_environment_s_is_read(monkeypatch):
  monkeypatch.setenv("TF_CONFIG", config())
  assert cluster.read().own.name == "worker 0"


@pytest.mark.parametrize(
  ("text", "told"),
  [
    ("{'cluster'}", "is not JSON: given .*: {'cluster'}; expected {\"cluster\""),
    ("[1]", r"is no JSON object: given \[1\]; "),
    ('{"clutser": {}, "task": 1}', 'cluster is missing: given only "clutser", "task"; expected'),
    ("{}", "cluster is missing: given nothing"),
    ('{"cluster": {}}', "cluster names no tasks: given {}"),
    (config(wroker=TWO), r'unknown type: given "wroker"; expected .*did you mean worker\?'),
    (config(ps=TWO), 'unknown type: given "ps"; expected "chief" or "worker"'),
    (config(workers="a:1"), 'cluster.worker is no list: given "a:1"'),
    (config(workers=[]), r"cluster.worker is no list: given \[\]"),
    (config(chief=TWO), "cluster.chief: given 2 addresses; expected one"),
    ('{"cluster": {"worker": ["a:1"]}}', "task is missing: given nothing; expected .*index"),
    ('{"cluster": {"worker": ["a:1"]}, "task": 3}', "task is missing: given 3"),
    (
      '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}',
      'task.index is missing: given only "type"',
    ),
    (config(kind="wrker"), r'task.type is not in .* given "wrker"; .*did you mean worker\?'),
    (config(kind="chief"), 'task.type is not in the cluster: given "chief"; expected "worker"$'),
    (config(kind=["worker"]), r"task.type is not in the cluster: given \[\"worker\"\]"),
    (config(index=2), "task.index: given 2; expected 0 to 1, for cluster.worker has 2"),
    (config(index=-1), "task.index: given -1; "),
    (config(index="one"), 'task.index: given "one"; '),
    (config(index=True), "task.index: given true; "),
    (config(index=None), "task.index: given null; "),
    (config(["a:1", "b"]), r'cluster.worker\[1\]: given "b"; expected "host:port"'),
    (config(["http://a:1", "b:2"]), r"cluster.worker\[0\]: given \"http://a:1\""),
    (config(["a b:1"]), r"cluster.worker\[0\]"),
    (config([7]), r"cluster.worker\[0\]: given 7"),
    (config(["a:99999"]), r'the port of cluster.worker\[0\]: given "a:99999"; .*1 to 65535'),
    (config(["a:0"]), "the port of .* 1 to 65535"),
    (
      config(["a:1", "A:1"]),
      r"two tasks have one address: given A:1 for worker 0 \(a:1\) and worker 1 \(A:1\)",
    ),
    (config(["a:1"], chief=["a:1"]), "two tasks have one address: .* chief 0 .* worker 0"),
  ],
)
def test_what_is_wrong_is_told(text, told):
  """M1."""
  with pytest.raises(errors.UsageError, match=f"^TF_CONFIG: .*{told}") as refused:
    cluster.read({"TF_CONFIG": text})
  assert "\n" not in str(refused.value)


def test_long_text_is_cut():
  with pytest.raises(errors.UsageError) as refused:
    cluster.parse("x" * 10_000)
  assert len(str(refused.value)) < 400


def test_an_unknown_host_is_named():
  """M1."""
  found = cluster.parse(config(["localhost:1", "no-such-host.invalid:2222"]))
  with pytest.raises(
    errors.UsageError, match=r"worker 1's host is unknown: given 'no-such-host.invalid' \(.+\)"
  ):
    cluster.check_hosts(found)
  with pytest.raises(errors.UsageError, match="worker 0's host is unknown"):
    cluster.check_hosts(cluster.parse(config(["a..b:1"])))


def test_one_address_under_two_names_is_found():
  found = cluster.parse(config(["localhost:2222", "127.0.0.1:2222"]))
  found_by = socket.getaddrinfo("localhost", 2222, type=socket.SOCK_STREAM)[0][4][0]
  if found_by != "127.0.0.1":
    pytest.skip(f"localhost is {found_by} here")
  with pytest.raises(errors.UsageError, match=r"one address: given 127\.0\.0\.1 port 2222 for"):
    cluster.check_hosts(found)


@pytest.mark.parametrize(
  ("host", "public"),
  [
    ("127.0.0.1", False),
    ("10.1.2.3", False),
    ("192.168.0.9", False),
    ("[fd00::1]", False),
    ("8.8.8.8", True),
    ("[2001:4860:4860::8888]", True),
  ],
)
def test_a_public_address_is_warned_of(host, public):
  """M11."""
  warnings = cluster.check_hosts(cluster.parse(config([f"{host}:2222"])))
  assert len(warnings) == public
  if public:
    assert warnings[0].startswith(f"worker 0 ({host}:2222) is at the public address")


def test_the_check_runs_without_tensorflow():
  program = "import sys; from vggtf.training import cluster; print('tensorflow' in sys.modules)"
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
  assert done.stdout == "False\n"


@pytest.mark.parametrize(
  ("text", "processes"), [("", 1), (config(TWO[:1]), 1), (config(), 2)], ids=["none", "one", "two"]
)
def test_a_cluster_whose_processes_all_take_part_is_used(monkeypatch, text, processes):
  monkeypatch.setenv("TF_CONFIG", text)
  cluster.check_used(processes)


def test_processes_that_would_train_each_for_itself_are_refused(monkeypatch):
  monkeypatch.setenv("TF_CONFIG", config())
  with pytest.raises(errors.UsageError, match=r"lists 2 processes, but .*=gin/with/multi_worker"):
    cluster.check_used(1)
