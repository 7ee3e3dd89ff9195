import os
import subprocess
import sys

import pytest

from tests import commands


def vggtf(*arguments: str, cwd=None) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-m", "vggtf.main", *arguments],
    capture_output=True,
    text=True,
    cwd=cwd,
    env=os.environ | {"PYTHONPATH": str(commands.ROOT)},
  )


def test_help_exits_0():
  done = vggtf("--help")
  assert done.returncode == 0
  assert "--gin_file" in done.stdout
  assert "--workdir" in done.stdout


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--gin_fil=x"], "Did you mean: gin_file"),
    (["--job=trian"], "Did you mean train?"),
    (["--job=summary"], "--job=summary needs --workdir"),
    (["--job=summary", "--workdir=nowhere"], "holds no run"),
    (["--job=summary", "--workdir=gs://bucket/run"], "must be local"),
    (["--job=predict", "--workdir=nowhere"], "needs picture files"),
    (["--job=predict", "--workdir=nowhere", "cat.jpg"], "run --job=export first"),
    (["--workdir=w", "--data_dir=d"], "give a configuration, such as --gin_file=gin/vgg16.gin"),
    (["--workdir=w", "--data_dir=d", "gin/vgg16.gin"], "takes no files"),
    (
      ["--workdir=w", "--data_dir=nowhere", "--gin_file=gin/vgg16.gin"],
      "make one with python -m data_tools.convert",
    ),
  ],
)
def test_a_mistake_is_one_line_with_the_cure_and_exits_2(arguments, message, tmp_path):
  done = vggtf(*arguments, cwd=tmp_path)
  assert done.returncode == 2
  assert message in done.stderr
  assert done.stderr.startswith("vggtf: ERROR 2: ")
  assert len(done.stderr.splitlines()) == 1
  assert not done.stdout
