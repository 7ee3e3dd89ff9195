import os
import pathlib
import subprocess
import sys

import pytest

from tests import commands, samples


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


TRAINING = ("--gin_file=gin/quickstart.gin", "--workdir=w")


def cut(path: pathlib.Path):
  path.write_bytes(path.read_bytes()[:-1])


def edit(path: pathlib.Path):
  path.write_text(path.read_text().replace('"train": 48', '"train": 47'))


def flip_bit(path: pathlib.Path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


SHARD = "scale_32/train-00001-of-00003"


@pytest.mark.parametrize(
  ("damage", "name", "message"),
  [
    (edit, "manifest.json", "manifest.json was edited or damaged"),
    (cut, SHARD, f"{SHARD} has"),
    (flip_bit, SHARD, f"{SHARD} record"),
  ],
)
def test_damaged_data_are_one_line_with_the_file_and_exit_4(tmp_path, damage, name, message):
  data = pathlib.Path(samples.digits_like(tmp_path / "data"))
  damage(data / name)
  small = ("--gin_param=pipeline.TrainingFeed.batch_size = 48", "--gin_param=train.run.steps = 1")
  done = vggtf(*TRAINING, *small, f"--data_dir={data}", cwd=tmp_path)
  assert done.returncode == 4
  last = done.stderr.splitlines()[-1]
  assert last.startswith("vggtf: ERROR 4: ")
  assert message in last
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize("scheme", ["s3", "hdfs"])
def test_a_filesystem_that_tensorflow_lacks_exits_5(tmp_path, scheme):
  done = vggtf(*TRAINING, f"--data_dir={scheme}://bucket/set", cwd=tmp_path)
  assert done.returncode == 5
  assert done.stderr.splitlines()[-1].startswith(
    f"vggtf: ERROR 5: TensorFlow has no {scheme}:// filesystem; mount {scheme}://bucket/set"
  )


def test_a_split_smaller_than_a_batch_exits_2(tmp_path):
  data = samples.digits_like(tmp_path / "data", train=10)
  done = vggtf(*TRAINING, f"--data_dir={data}", cwd=tmp_path)
  assert done.returncode == 2
  assert "batch_size = 64: expected 1 to 10, the images of the split 'train'" in done.stderr
