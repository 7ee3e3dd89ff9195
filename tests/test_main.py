import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from tests import commands, samples
from vggtf.training import traced_layers


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
    (["--job=evaluate", "--workdir=nowhere", "--gin_file=gin/eval/dense.gin"], "holds no run"),
    (
      ["--job=describe", "--gin_file=gin/vgg16.gin", "--gin_param=describe.run.classes=0"],
      "least 1",
    ),
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


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--job=predict", "--workdir=nowhere"], "needs files or folders as arguments"),
    (["--job=predict", "--workdir=nowhere", "cat.jpg"], "run --job=export first"),
    (["--workdir=w", "--data_dir=d"], "give a configuration, such as --gin_file=gin/vgg16.gin"),
    (["--workdir=w", "--data_dir=d", "gin/vgg16.gin"], "takes no files"),
    (["--job=report", "--workdir=w", "--target=a.html"], "has no use for --target: leave it out"),
  ],
)
def test_a_mistake_of_what_a_job_is_given_is_told_too(arguments, message, tmp_path):
  stdout, stderr = commands.call(*arguments, code=2, cwd=tmp_path)
  assert message in stderr
  assert stderr.startswith("vggtf: ERROR 2: ")
  assert len(stderr.splitlines()) == 1
  assert not stdout


TRAINING = ("--gin_file=gin/quickstart.gin", "--workdir=w")
SMALL = ("--gin_param=pipeline.TrainingFeed.batch_size = 48", "--gin_param=train.run.steps = 1")


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
  ],
)
def test_damaged_data_are_one_line_with_the_file_and_exit_4(tmp_path, damage, name, message):
  data = pathlib.Path(samples.digits_like(tmp_path / "data"))
  damage(data / name)
  _, stderr = commands.call(*TRAINING, *SMALL, f"--data_dir={data}", code=4, cwd=tmp_path)
  last = stderr.splitlines()[-1]
  assert last.startswith("vggtf: ERROR 4: ")
  assert message in last


def test_a_bug_keeps_its_traceback_and_exits_1_while_images_are_read():
  bug = """if True:
    import sys, time
    import tensorflow as tf
    from vggtf import main
    def read(number):
      time.sleep(0.001)
      return number
    def job():
      data = tf.data.Dataset.range(10**9)
      data = data.map(lambda number: tf.numpy_function(read, [number], tf.int64))
      next(opened := iter(data.prefetch(10**9)))
      1 / 0
    main.main = job
    sys.exit(main.cli())
  """
  done = subprocess.run(
    [sys.executable, "-c", bug], cwd=commands.ROOT, capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 1
  assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_damage_that_tensorflow_meets_is_one_line_too(tmp_path):
  data = pathlib.Path(samples.digits_like(tmp_path / "data", scales=(32,)))
  flip_bit(data / SHARD)
  done = vggtf(*TRAINING, *SMALL, f"--data_dir={data}", cwd=tmp_path)
  assert done.returncode == 4
  last = done.stderr.splitlines()[-1]
  assert last.startswith("vggtf: ERROR 4: ")
  assert f"{SHARD} record" in last
  assert "Traceback" not in done.stderr


@pytest.mark.parametrize("scheme", ["s3", "hdfs"])
def test_a_filesystem_that_tensorflow_lacks_exits_5(tmp_path, scheme):
  given = f"--data_dir={scheme}://bucket/set"
  _, stderr = commands.call(*TRAINING, given, code=5, cwd=tmp_path)
  assert stderr.splitlines()[-1].startswith(
    f"vggtf: ERROR 5: TensorFlow has no {scheme}:// filesystem; mount {scheme}://bucket/set"
  )


def test_a_split_smaller_than_a_batch_exits_2(tmp_path):
  data = samples.digits_like(tmp_path / "data", train=10)
  _, stderr = commands.call(*TRAINING, f"--data_dir={data}", code=2, cwd=tmp_path)
  assert "batch_size = 64: expected 1 to 10, the images of the split 'train'" in stderr


@pytest.fixture
def outside(tmp_path) -> pathlib.Path:
  """Returns a folder with a module that tells when it runs, and a gin file that imports it."""
  (tmp_path / "our_nets.py").write_text("open('it_ran', 'w').close()\nWIDTH = 0.125\n")
  (tmp_path / "gins").mkdir()
  (tmp_path / "gins" / "ours.gin").write_text(
    "from __gin__ import dynamic_registration\ninclude 'gin/vgg11.gin'\nimport our_nets\n"
  )
  return tmp_path


def describe(folder, *arguments):
  environment = {"PYTHONPATH": f"{commands.ROOT}{os.pathsep}{folder}"}
  return subprocess.run(
    [sys.executable, "-m", "vggtf.main", "--job=describe", *arguments],
    capture_output=True,
    text=True,
    cwd=folder,
    env=os.environ | environment,
  )


def test_outside_code_runs_only_when_it_is_allowed(outside):
  given = ("--gin_search_paths=gins", "--gin_file=ours.gin")
  refused = describe(outside, *given)
  assert refused.returncode == 2
  assert "--gin_allow_import=our_nets" in refused.stderr
  assert len(refused.stderr.splitlines()) == 1
  assert not (outside / "it_ran").exists()
  allowed = describe(outside, *given, "--gin_allow_import=our_nets")
  assert allowed.returncode == 0, allowed.stderr
  assert (outside / "it_ran").exists()
  assert "132,863,336" in allowed.stdout


@pytest.mark.parametrize("spelling", ["--gin_param=", "--gin_params=", "--gin_bindings=", "--gin."])
def test_a_binding_has_four_spellings(tmp_path, spelling):
  width = f"{spelling}VGG.width=0.125"
  stdout, _ = commands.call("--job=describe", "--gin_file=gin/vgg11.gin", width, cwd=tmp_path)
  assert "parameters" in stdout
  assert "132,863,336" not in stdout


def test_memory_that_runs_out_in_any_job_is_a_fault_of_the_machine(monkeypatch):
  def exhausted(*_):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore")

  monkeypatch.setattr(traced_layers, "trace", exhausted)
  _, stderr = commands.call("--job=describe", "--gin_file=gin/quickstart.gin", code=5)
  assert stderr.startswith("vggtf: ERROR 5: out of memory (OOM when allocating tensor); ask for")
  assert len(stderr.splitlines()) == 1
