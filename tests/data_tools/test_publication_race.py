"""A reader that never stops looking, while the converter is killed, sees whole sets alone."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from vggtf import manifest

FLAGS = ("--scales=32,64", "--shards=train=8,validation=2")


class Reader(threading.Thread):
  """Opens what `output` is at the moment, and reads it all, again and again.

  It holds the folder open, so that it knows when the set that it reads was replaced meanwhile.
  """

  def __init__(self, output):
    super().__init__()
    self.qualities = []  # of each set that was seen
    self.failures = []
    self._output = output
    self._done = threading.Event()

  def __enter__(self):
    self.start()
    return self

  def __exit__(self, *_):
    self._done.set()
    self.join()

  def run(self):
    while not self._done.is_set():
      try:
        folder = os.open(self._output, os.O_RDONLY)
      except FileNotFoundError:
        continue
      try:
        self.qualities.append(self._read(folder))
      except Exception as error:
        if self._is_current(folder):
          self.failures.append(error)
      finally:
        os.close(folder)

  def _read(self, folder):
    text = self._read_file(folder, manifest.NAME).decode()
    content = manifest.from_json(text, manifest.NAME)
    for shards in content.shards.values():
      for shard in shards:
        data = self._read_file(folder, shard.path)
        assert len(data) == shard.bytes, shard.path
        assert hashlib.sha256(data).hexdigest() == shard.sha256, shard.path
    return content.options["quality"]

  def _read_file(self, folder, path):
    with open(os.open(path, os.O_RDONLY, dir_fd=folder), "rb") as file:
      return file.read()

  def _is_current(self, folder):
    try:
      return os.path.samestat(os.fstat(folder), os.stat(self._output))
    except FileNotFoundError:
      return False


@pytest.fixture
def start(pictures, tmp_path, repository):
  """Returns a function (flags) that starts the converter in a session of its own."""

  def start(*flags):
    given = (f"--input={pictures}", f"--output={tmp_path / 'out'}", *FLAGS, *flags)
    return subprocess.Popen(
      [sys.executable, "-m", "data_tools.convert", *given],
      cwd=repository,
      start_new_session=True,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )

  return start


@pytest.mark.parametrize("kills", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_a_reader_sees_whole_sets_alone(start, tmp_path, kills):
  moments = random.Random(kills)
  output = tmp_path / "out"
  with Reader(output) as reader:
    began = time.monotonic()
    assert start().wait() == 0
    whole = time.monotonic() - began
    output.rename(tmp_path / "first")
    for flags in (("--quality=90", "--resume"), ("--quality=80", "--overwrite")):
      for _ in range(kills):
        process = start(*flags)
        time.sleep(moments.uniform(0.4, 1.1) * whole)
        os.killpg(process.pid, signal.SIGKILL)  # it is not waited for yet, so the id is its own
        process.wait()
      assert start(*flags).wait() == 0
      time.sleep(0.2)  # for the reader
  assert reader.failures == []
  assert set(reader.qualities) == {95, 90, 80}
  assert reader.qualities[-1] == 80
  assert sorted(os.listdir(tmp_path)) == ["first", "out"]
