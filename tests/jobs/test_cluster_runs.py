"""Two workers, of which one is killed, stopped, stuck or wrong: what both do, and what is next."""

import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests import commands, samples
from tests.jobs import cluster_worker, runs
from vggtf import errors, workdir
from vggtf.jobs import evaluate
from vggtf.training import committed, meeting, strategy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DEADLINE = 20.0  # seconds from an event to the end of those that are left


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data")


class Worker:
  """A process, whose lines on stderr are gathered and can be waited for."""

  def __init__(self, folder, data_dir, workers, index, prefix=(), **options):
    task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
    arguments = {"workdir": str(folder / f"worker-{index}"), "data_dir": str(data_dir), **options}
    module = [sys.executable, "-m", "tests.jobs.cluster_worker", json.dumps(arguments)]
    self.folder = folder / f"worker-{index}"
    self.process = subprocess.Popen(
      [*prefix, *module],
      env={**os.environ, "TF_CONFIG": json.dumps(task)},
      cwd=commands.ROOT,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    self.lines: list[str] = []
    self._ended = False
    self._came = threading.Condition()
    self._reader = threading.Thread(target=self._read)
    self._reader.start()

  def wait_for(self, beginning: str) -> None:
    def has_come():
      return any(line.startswith(beginning) for line in self.lines)

    with self._came:
      self._came.wait_for(lambda: self._ended or has_come(), 300)
    assert has_come(), "\n".join(self.lines)

  def finish(self, code: int, within: float = 300.0) -> str:
    """Returns the last line that is ours; "" where there is none."""
    self.process.wait(within)
    self._reader.join()
    assert self.process.returncode == code, "\n".join(self.lines)
    return next((line for line in reversed(self.lines) if line.startswith("vggtf: ")), "")

  def _read(self) -> None:
    for line in self.process.stderr:
      with self._came:
        self.lines.append(line.rstrip())
        self._came.notify_all()
    with self._came:
      self._ended = True
      self._came.notify_all()


def addresses() -> list[str]:
  with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as two:
    return [f"localhost:{server.getsockname()[1]}" for server in (one, two)]


@contextlib.contextmanager
def pair(folder, data_dir, *options):
  """Yields two workers; kills what is left of them."""
  places = addresses()
  both = [
    Worker(folder, data_dir, places, at, **(options[at] if options else {})) for at in range(2)
  ]
  try:
    yield both
  finally:
    for one in both:
      one.process.kill()
      one.process.wait()


def finish(folder, data_dir) -> dict[str, bytes]:
  """Trains to the end and returns the bits of the last checkpoint, the same in both workers."""
  with pair(folder, data_dir) as both:
    for one in both:
      one.finish(0)
  first, second = (runs.saved(one.folder, cluster_worker.STEPS) for one in both)
  assert first == second
  return first


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="module")
def undisturbed(folder, data_dir):
  return finish(folder, data_dir)


def check_images(folder) -> None:
  """P6: whatever was repeated, each image is in one batch of an epoch, and in one worker's part."""
  seen = collections.defaultdict(set)
  for at in range(2):
    for line in (folder / f"worker-{at}" / "images.txt").read_text().splitlines():
      step, *ids = line.split()
      seen[int(step), at].add(tuple(ids))
  for epoch in range(2):
    batches = [seen[6 * epoch + step, at] for step in range(1, 7) for at in range(2)]
    assert [len(found) for found in batches] == [1] * 12
    images = collections.Counter(one for (ids,) in batches for one in ids)
    assert len(images) == 48
    assert set(images.values()) == {1}


def test_kills_at_any_moment_change_no_bit_and_no_image(tmp_path, data_dir, undisturbed):
  """P1, P6, M3: in a save that the other finished, and after two steps."""
  with pair(tmp_path, data_dir, {}, {"die_in_save": 2}) as both:
    both[1].finish(-signal.SIGKILL)
    died = time.monotonic()
    told = both[0].finish(7, DEADLINE)
    assert time.monotonic() - died < DEADLINE
  assert told.startswith("vggtf: ERROR 7: worker 1 (localhost:")
  assert told.endswith(") was lost; its own log says why; start all of them again")
  assert runs.steps(both[0].folder) in ([2], [2, 4])
  assert not runs.steps(both[1].folder)
  for at in range(2):
    with pair(tmp_path, data_dir) as both:
      both[at].wait_for("step ")
      both[at].process.kill()
      assert both[1 - at].finish(7, DEADLINE).startswith(f"vggtf: ERROR 7: worker {at} (localhost:")
    if at == 0:
      assert any("going on from the beginning" in line for line in both[0].lines)
  assert finish(tmp_path, data_dir) == undisturbed
  check_images(tmp_path)


@pytest.mark.usefixtures("undisturbed")
def test_validation_that_workers_share_is_that_of_one_process(folder):
  """P10: 9 and 8 of 17 images."""
  both = [workdir.Workdir(str(folder / f"worker-{at}")) for at in range(2)]
  lines = both[0].read_results()
  assert lines == [{**line, "run": "worker-0"} for line in both[1].read_results()]
  assert {line["count"] for line in lines} == {17}
  evaluate.run(str(both[0].path), runs.MODEL, runs.VALIDATOR)
  measured = ("step", "protocol", "metric", "value", "count")
  shared, alone = ([line[name] for name in measured] for line in both[0].read_results()[-4::2])
  print(f"shared by two {shared}, in one process {alone}")
  assert shared == alone


@pytest.mark.parametrize("stop_in", ["beginning", "evaluation", "save", None])
def test_sigterm_to_one_stops_both_at_one_step(tmp_path, data_dir, undisturbed, stop_in):
  """M8, P8."""
  with pair(tmp_path, data_dir, {}, {"stop_in": stop_in}) as both:
    if not stop_in:
      both[1].wait_for("step 3 of")
      both[1].process.terminate()
    told = [one.finish(42) for one in both]
  assert all("; the same command goes on from it" in one for one in told), told
  first, second = (max(runs.steps(one.folder)) for one in both)
  assert first == second
  expected = {"beginning": (1,), "evaluation": (4,), "save": (5, 6, 7), None: range(4, 12)}[stop_in]
  assert first in expected
  assert runs.saved(both[0].folder, first) == runs.saved(both[1].folder, first)
  assert any(
    "worker 1 (localhost:" in line and "was asked to stop" in line for line in both[0].lines
  )
  assert finish(tmp_path, data_dir) == undisturbed


def test_an_evaluation_that_one_alone_wrote_down_is_made_again_by_both(
  tmp_path, data_dir, undisturbed
):
  """M3: of a step where a stop had broken it off."""
  with pair(tmp_path, data_dir, {}, {"stop_in": "evaluation"}) as both:
    for one in both:
      one.finish(42)
  with pair(tmp_path, data_dir, {}, {"die_in_save": 4}) as both:
    both[1].finish(-signal.SIGKILL)
    both[0].finish(7, DEADLINE)
  places = [one.folder / "checkpoints" / "step-00000004" for one in both]
  assert [committed.read_error(place) is None for place in places] == [False, True]
  assert finish(tmp_path, data_dir) == undisturbed


@pytest.mark.parametrize("stuck", [0, 1])
def test_a_stopped_worker_is_named_within_the_deadline(tmp_path, data_dir, stuck):
  """M4, P7: SIGSTOP, and after it SIGCONT."""
  with pair(tmp_path, data_dir, *[{"silence": 10.0}] * 2) as both:
    both[stuck].wait_for("step 3 of")
    both[stuck].process.send_signal(signal.SIGSTOP)
    told = both[1 - stuck].finish(7, DEADLINE)
    assert told.startswith("vggtf: ERROR 7: worker ")
    assert f"worker {stuck} (localhost:" in told
    both[stuck].process.send_signal(signal.SIGCONT)
    both[stuck].finish(7, DEADLINE)


@pytest.fixture
def cable():
  """Yields a network namespace of its own, tied to ours: its name, our link's, both addresses."""
  name = f"vggtf{os.getpid()}"
  ours, theirs = f"{name}a"[-15:], f"{name}b"[-15:]
  inside = ["ip", "netns", "exec", name]
  commands_ = [
    ["ip", "netns", "add", name],
    ["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name],
    ["ip", "address", "add", "10.213.77.1/30", "dev", ours],
    ["ip", "link", "set", ours, "up"],
    [*inside, "ip", "address", "add", "10.213.77.2/30", "dev", theirs],
    [*inside, "ip", "link", "set", theirs, "up"],
    [*inside, "ip", "link", "set", "lo", "up"],
  ]
  try:
    for command in commands_:
      if not shutil.which("ip") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs ip, and the right to make a network namespace")
    yield inside, ours, ["10.213.77.1:23457", "10.213.77.2:23457"]
  finally:
    if shutil.which("ip"):
      subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def test_workers_whose_network_is_cut_both_end(tmp_path, data_dir, cable):
  """P7: the port is dropped, and no side hears of it."""
  inside, link, places = cable
  options = {"folder": tmp_path, "data_dir": data_dir, "workers": places, "silence": 10.0}
  both = [Worker(index=0, **options), Worker(index=1, prefix=inside, **options)]
  try:
    both[0].wait_for("step 3 of")
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
    cut = time.monotonic()
    for at, one in enumerate(both):
      told = one.finish(7, DEADLINE)
      assert f"worker {1 - at} ({places[1 - at]})" in told, one.lines
    assert time.monotonic() - cut < DEADLINE
  finally:
    for one in both:
      one.process.kill()
      one.process.wait()


def test_a_worker_that_never_comes_is_named(monkeypatch, caplog):
  """M2, P7: before TensorFlow begins to wait for it without end."""
  workers = addresses()
  task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}
  monkeypatch.setenv("TF_CONFIG", json.dumps(task))
  monkeypatch.setattr(meeting, "_TELL_EVERY", 0.5)
  with caplog.at_level("INFO", "vggtf"), pytest.raises(errors.PeerError) as caught:
    strategy.multi_worker(timeout=2.0)
  told = f"waits for worker 1 ({workers[1]})"
  assert f"worker 0 ({workers[0]}) still {told} after 2 s" in str(caught.value)
  assert f"worker 0 {told}: 1 of 2 s" in caplog.text


def test_a_worker_that_lives_but_is_stuck_is_told_of_by_the_deadline_of_a_step(tmp_path, data_dir):
  """T6: the other waits in the sum of a step; both say where they were."""
  with pair(tmp_path, data_dir, {"step_deadline": 10.0}, {"wait_at": 5}) as both:
    both[1].wait_for("waits")
    assert "10 s for each (train.run.step_deadline)" in both[0].finish(7, 60)
    assert any("in block" in line for line in both[0].lines)
    told = both[1].finish(7, DEADLINE)
    assert told.startswith("vggtf: ERROR 7: worker 0 (localhost:")
    assert any("cluster_worker.py" in line and "in note" in line for line in both[1].lines)


def test_what_is_wrong_with_one_is_told_by_both(tmp_path, data_dir):
  """M7, M6: a record that only the second worker's disk has damaged."""
  damaged = pathlib.Path(shutil.copytree(data_dir, tmp_path / "damaged"))
  for path in damaged.glob("scale_*/train-*"):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
  places = addresses()
  both = [Worker(tmp_path, at, places, index) for index, at in enumerate((data_dir, damaged))]
  told = both[1].finish(4)
  assert " record " in told
  cause = told.removeprefix("vggtf: ")
  assert both[0].finish(7, DEADLINE) == (
    f"vggtf: ERROR 7: worker 1 ({places[1]}) ended: {cause}; start all of them again"
  )


def test_workers_with_different_configurations_all_refuse(tmp_path, data_dir):
  """M5."""
  with pair(tmp_path, data_dir, {}, {"text": "a = 2\n"}) as both:
    for one in both:
      assert "have different configurations; give all of them the same" in one.finish(2)
      assert not runs.steps(one.folder)
