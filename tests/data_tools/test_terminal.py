"""A reader that has gone (`| head`) changes neither what is written nor the exit code."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def run_unread(repository):
  """Returns a function (flags of Python) to the exit code of a command whose reader has gone."""

  def run(*command: str, both: bool) -> int:
    reader, writer = os.pipe()
    os.close(reader)
    try:
      return subprocess.run(
        [sys.executable, *command],
        cwd=repository,
        stdout=writer,
        stderr=writer if both else subprocess.DEVNULL,
      ).returncode
    finally:
      os.close(writer)

  return run


@pytest.mark.parametrize("both", [False, True])
def test_conversion_is_published_all_the_same(
  run_unread, pictures, converted, tmp_path, read_tree, both
):
  flags = (f"--input={pictures}", f"--output={tmp_path / 'out'}", "--scales=32,40")
  assert (
    run_unread("-m", "data_tools.convert", *flags, "--shards=train=3,validation=2", both=both) == 0
  )
  assert os.listdir(tmp_path) == ["out"]
  assert read_tree(tmp_path / "out") == read_tree(converted)


def test_damage_is_told_all_the_same(run_unread, copied):
  assert run_unread("-m", "data_tools.verify", f"--input={copied}", both=False) == 0
  (copied / "labels.txt").unlink()
  assert run_unread("-m", "data_tools.verify", f"--input={copied}", both=False) == 4


def test_what_others_say_after_it_does_not_count_either(run_unread):
  code = "from data_tools import terminal; terminal.say('a')\nimport sys; sys.stderr.write('b')"
  assert run_unread("-c", f"{code}; sys.exit(0)", both=True) == 0
