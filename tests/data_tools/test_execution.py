"""One input converted in every way that Beam runs here, killed and resumed: the bytes are equal."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from data_tools.publication import REJECTED
from tests.data_tools import bucket
from vggtf import errors, manifest

PROGRAM = (sys.executable, "-m", "data_tools.convert")
TOLERANT = "--max_reject_fraction=0.2"
PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
EMBEDDED = ("--runner=PortableRunner", "--job_endpoint=embed")
LOOPBACK = ("--environment_type=LOOPBACK",)
LARGE = ("--scales=256,384,512", "--shards=train=16,validation=4")  # seconds of work, to be killed


@pytest.fixture(scope="module")
def mixed(pictures, tmp_path_factory, write_files, damage_scan):
  """Returns `pictures` with damaged ones among them."""
  folder = shutil.copytree(pictures, tmp_path_factory.mktemp("mixed") / "in")
  whole = (folder / "train/n01/n01_0.JPEG").read_bytes()
  damaged = {
    "train/n01/empty.JPEG": b"",
    "train/n02/cut.JPEG": whole[: len(whole) // 2],
    "validation/n03/text.JPEG": b"no picture",
    "train/n03/flipped.JPEG": damage_scan[0],
  }
  return write_files(folder, damaged)


@pytest.fixture(scope="module")
def expected(mixed, tmp_path_factory, run_convert, read_tree):
  """Returns what the local runner makes of `mixed`, as {path: bytes}."""
  output = tmp_path_factory.mktemp("expected") / "set"
  assert run_convert(mixed, output, TOLERANT) == 0
  tree = read_tree(output)
  assert len(tree[REJECTED].splitlines()) == 3
  return tree


@pytest.fixture(scope="module")
def large(mixed, tmp_path_factory, run_convert, read_tree):
  """Returns what the local runner makes of `mixed` with the flags `LARGE`."""
  output = tmp_path_factory.mktemp("large") / "set"
  assert run_convert(mixed, output, TOLERANT, *LARGE) == 0
  return read_tree(output)


@pytest.fixture(scope="module")
def start(repository):
  """Returns a function (arguments, Popen's options) that starts Python in a session of its own."""

  def start(arguments, **options):
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    return subprocess.Popen(
      arguments,
      cwd=repository,
      env=os.environ | {"PATH": path},  # Beam's worker pool starts "python"
      start_new_session=True,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
      **options,
    )

  return start


@pytest.fixture
def convert(start, mixed):
  """Returns a function (output, flags) that runs the command to its exit code and stderr."""

  def convert(output, *flags, **options):
    given = (f"--input={mixed}", f"--output={output}", "--scales=32,40")
    process = start([*PROGRAM, *given, "--shards=train=3,validation=2", *flags], **options)
    try:
      said = process.communicate(timeout=120)[1]
    finally:
      _kill_session(process)
    return process.returncode, said

  return convert


@pytest.fixture(scope="module")
def serve(start):
  """Returns a context manager (module, flag of the port): the service's address while it runs."""

  @contextlib.contextmanager
  def serve(module, flag):
    with socket.socket() as free:
      free.bind(("localhost", 0))
      port = free.getsockname()[1]
    process = start([sys.executable, "-m", module, f"{flag}={port}"])
    try:
      _wait(lambda: _is_open(port))
      yield f"localhost:{port}"
    finally:
      _kill_session(process)

  return serve


@pytest.fixture(scope="module")
def pool(serve):
  """Returns the flags for a worker pool of another process, as it stands beside Flink's workers."""
  with serve("apache_beam.runners.worker.worker_pool_main", "--service_port") as address:
    yield ("--environment_type=EXTERNAL", f"--environment_config={address}")


@pytest.mark.parametrize(
  "flags",
  [
    ("--direct_running_mode=multi_threading", "--direct_num_workers=3"),
    ("--direct_runner_bundle_repeat=2",),
  ],
)
def test_threads_and_repeated_bundles(mixed, tmp_path, run_convert, read_tree, expected, flags):
  assert run_convert(mixed, tmp_path / "out", TOLERANT, *flags) == 0
  assert read_tree(tmp_path / "out") == expected


@pytest.mark.parametrize("flags", [PROCESSES, EMBEDDED + LOOPBACK])
def test_processes_and_the_embedded_job_service(convert, tmp_path, read_tree, expected, flags):
  code, said = convert(tmp_path / "out", TOLERANT, *flags)
  assert code == 0, said
  assert read_tree(tmp_path / "out") == expected
  lines = [line for line in said.splitlines() if line.strip()]
  assert [line for line in lines if not line.startswith("convert: ")] == []


def test_worker_pool(convert, pool, tmp_path, read_tree, expected):
  code, said = convert(tmp_path / "out", TOLERANT, *EMBEDDED, *pool)
  assert code == 0, said
  assert read_tree(tmp_path / "out") == expected


def test_job_service(convert, serve, tmp_path, read_tree, expected):
  service = "apache_beam.runners.portability.local_job_service_main"
  with serve(service, "--port") as address:
    flags = ("--runner=PortableRunner", f"--job_endpoint={address}", *LOOPBACK)
    code, said = convert(tmp_path / "out", TOLERANT, *flags)
  assert code == 0, said
  assert read_tree(tmp_path / "out") == expected


REJECTS = ("--max_reject_fraction=0", 3, "3 of 46 images were rejected (1 empty, ")
USAGE = ("--shards=train=1000,validation=2", 2, "--shards: train=1000 files for 33 images")


@pytest.mark.parametrize(
  ("mode", "wrong", "code", "begins"),
  [
    ("processes", *REJECTS),
    ("loopback", *USAGE),
    pytest.param("processes", *USAGE, marks=pytest.mark.slow),
    pytest.param("loopback", *REJECTS, marks=pytest.mark.slow),
    pytest.param("pool", *REJECTS, marks=pytest.mark.slow),
    pytest.param("pool", *USAGE, marks=pytest.mark.slow),
  ],
)
def test_workers_errors_are_one_line(convert, request, tmp_path, mode, wrong, code, begins):
  flags = {"processes": PROCESSES, "loopback": EMBEDDED + LOOPBACK}.get(mode)
  flags = flags or EMBEDDED + request.getfixturevalue("pool")
  found, said = convert(tmp_path / "out", wrong, *flags)
  assert found == code, said
  assert said.splitlines()[-1].startswith(f"vggtf: ERROR {code}: {begins}")
  assert "Traceback" not in said
  assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_full_disk_of_an_embedded_worker(convert, tmp_path):
  limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))  # noqa: E731
  code, said = convert(tmp_path / "out", TOLERANT, *EMBEDDED, *LOOPBACK, preexec_fn=limit)
  assert code == 5, said
  assert "File too large" in said.splitlines()[-1]
  assert "Traceback" not in said


def test_log_level_of_the_user_wins(convert, tmp_path):
  level = "--default_sdk_harness_log_level=INFO"
  code, said = convert(tmp_path / "out", TOLERANT, *PROCESSES, level)
  assert code == 0, said
  assert "INFO:apache_beam" in said
  assert "Worker: " in said


def test_killed_job_is_resumed(start, convert, mixed, tmp_path, read_tree, large):
  output = tmp_path / "out"
  given = (f"--input={mixed}", f"--output={output}", TOLERANT, *LARGE, *PROCESSES)
  process = start([*PROGRAM, *given])
  kept = _wait(lambda: _count_parts(output) >= 2 and _count_parts(output))
  _kill_session(process)
  assert process.wait() == -signal.SIGKILL
  assert 2 <= kept < 20
  assert not output.exists()
  code, said = convert(output, TOLERANT, *LARGE, "--resume")
  assert code == 0, said
  assert read_tree(output) == large


def test_killed_worker_ends_the_job_and_it_is_resumed(
  start, convert, mixed, tmp_path, read_tree, large
):
  output = tmp_path / "out"
  given = (f"--input={mixed}", f"--output={output}", TOLERANT, *LARGE, *PROCESSES)
  process = start([*PROGRAM, *given])
  _wait(lambda: _count_parts(output))
  os.kill(_find_workers(process)[0], signal.SIGKILL)
  said = process.communicate(timeout=60)[1]
  assert process.returncode == errors.EnvironmentFault.exit_code, said
  assert "a worker process died" in said.splitlines()[-1]
  assert "Traceback" not in said
  assert not output.exists()
  assert _count_parts(output)
  code, said = convert(output, TOLERANT, *LARGE, *PROCESSES, "--resume")
  assert code == 0, said
  assert read_tree(output) == large


@pytest.fixture
def buckets(tmp_path, mixed, monkeypatch):
  """Returns the folder that stands for all buckets, with `mixed` in the bucket "in"."""
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path / "buckets")
  shutil.copytree(mixed, tmp_path / "buckets" / "in" / "set")
  return tmp_path / "buckets"


def test_buckets(buckets, run_convert, read_tree, expected, monkeypatch):
  renamed = []
  rename = bucket.Bucket.rename

  def watch(self, sources, destinations):
    rename(self, sources, destinations)
    renamed.extend(destinations)

  monkeypatch.setattr(bucket.Bucket, "rename", watch)
  assert run_convert("bucket://in/set", "bucket://out/set", TOLERANT) == 0
  assert read_tree(buckets / "out" / "set") == expected
  published = [path.rpartition("/")[2] for path in renamed]
  assert published[-1] == manifest.NAME
  assert published.count(manifest.NAME) == 1
  assert len(published) > len(expected)  # the parts, which are gone


@pytest.mark.parametrize("at", [3, 14])
def test_bucket_that_fails_is_resumed(
  buckets, run_convert, read_tree, expected, monkeypatch, capsys, at
):
  calls = []
  rename = bucket.Bucket.rename

  def fail(self, sources, destinations):
    calls.append(destinations)
    if len(calls) == at:
      raise OSError(5, "the bucket is away")
    rename(self, sources, destinations)

  monkeypatch.setattr(bucket.Bucket, "rename", fail)
  given = ("bucket://in/set", "bucket://out/set", TOLERANT)
  assert run_convert(*given) == errors.EnvironmentFault.exit_code
  assert "the bucket is away" in capsys.readouterr().err
  assert manifest.NAME not in read_tree(buckets / "out" / "set")
  assert run_convert(*given) == errors.UsageError.exit_code
  assert "go on with --resume" in capsys.readouterr().err
  assert run_convert(*given, "--resume") == 0
  assert read_tree(buckets / "out" / "set") == expected


def _wait(is_done, seconds=60):
  end = time.monotonic() + seconds
  while not (found := is_done()):
    assert time.monotonic() < end
    time.sleep(0.01)
  return found


def _is_open(port):
  with socket.socket() as probe:
    return probe.connect_ex(("localhost", port)) == 0


def _count_parts(output):
  return len(list(output.with_name(f"{output.name}.incomplete").glob("parts/*.json")))


def _find_workers(process):
  found = []
  for entry in filter(str.isdecimal, os.listdir("/proc")):
    with contextlib.suppress(OSError):
      with open(f"/proc/{entry}/cmdline", "rb") as file:
        arguments = file.read().split(b"\0")
      if os.getsid(int(entry)) == process.pid and b"data_tools.beam_worker" in arguments:
        found.append(int(entry))
  return sorted(found)


def _kill_session(process):
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
