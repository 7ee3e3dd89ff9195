"""The main job through its command lines: pictures to a SavedModel that answers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import commands
from vggtf.data import shards
from vggtf.training import checkpoint

# A quickstart that stops early: 40 steps of 32 images.
SHORT = (
  "--gin_file=gin/quickstart.gin",
  "--gin_param=TrainingFeed.batch_size = 32",
  "--gin_param=train.run.steps = 40",
  "--gin_param=train.run.evaluate_every = 20",
  "--gin_param=train.run.checkpoint_every = 5",
  "--gin_param=train.run.log_every = 10",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("digits")
  commands.run("data_tools.digits", f"--output={folder}/images")
  commands.run(
    "data_tools.convert",
    "--source=folder",
    f"--input={folder}/images",
    f"--output={folder}/records",
    "--scales=32,40,48",
    "--shards=train=4,validation=2",
  )
  return folder


@pytest.fixture(scope="module")
def trained(data) -> Path:
  """Returns the folder of a run that nothing disturbed."""
  workdir = data / "undisturbed"
  commands.run("vggtf.main", *SHORT, f"--data_dir={data}/records", f"--workdir={workdir}")
  return workdir


def test_pictures_become_a_saved_model_that_answers(data, trained, tmp_path):
  commands.run("data_tools.verify", f"--input={data}/records", "--decode=all")
  stdout, _ = commands.run("vggtf.main", "--job=evaluate", f"--workdir={trained}")
  assert "dense" in stdout
  exported, _ = commands.run("vggtf.main", "--job=export", f"--workdir={trained}")
  saved_model = Path(exported.strip())
  assert saved_model == trained / "export" / "dense" / "40"

  results = [json.loads(line) for line in (trained / "results.jsonl").read_text().splitlines()]
  evaluated = {line["metric"]: line for line in results if line["job"] == "evaluate"}
  assert evaluated.keys() == {"top1_error", "top5_error"}
  images = list((data / "images" / "validation").glob("*/*.jpg"))
  assert evaluated["top1_error"]["count"] == len(images)

  # Served from a process that knows nothing of vggtf, the pictures that were evaluated are wrong as
  # often as was measured.
  stored = shards.Shards(f"{data}/records", "validation")
  labels = []
  for number in range(stored.count):
    record = stored.read(number, scale=40)
    (tmp_path / f"{number:03d}.jpg").write_bytes(record.encoded)
    labels.append(record.text)
  program = (
    "import sys; sys.modules['vggtf'] = None\n"
    "import tensorflow as tf\n"
    "answer = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
    "pictures = [open(path, 'rb').read() for path in sys.argv[2:]]\n"
    "asked = [pictures[at : at + 64] for at in range(0, len(pictures), 64)]\n"
    "replies = [answer(images=tf.constant(one)) for one in asked]\n"
    "reply = {name: tf.concat([one[name] for one in replies], 0) for name in replies[0]}\n"
    "best = tf.math.top_k(reply['probabilities'], 2).values\n"
    "for labels, (first, second) in zip(reply['labels'].numpy(), best.numpy()):\n"
    "  print(labels[0].decode(), first - second)"
  )
  answered = subprocess.run(
    [sys.executable, "-c", program, saved_model, *sorted(tmp_path.glob("*.jpg"))],
    capture_output=True,
    text=True,
    check=True,
    cwd=tmp_path,
  ).stdout.splitlines()
  answered, margins = zip(*(line.split() for line in answered), strict=True)
  wrong = sum(given != label for given, label in zip(answered, labels, strict=True))
  # Batches and single pictures round differently, which decides where two classes are level.
  level = sum(float(margin) < 1e-4 for margin in margins)
  assert level < 0.05 * len(labels)
  assert abs(wrong - evaluated["top1_error"]["value"] * len(labels)) <= level

  picture = tmp_path / "000.jpg"
  asked = ("--job=predict", f"--workdir={trained}", f"--heatmap={tmp_path}/maps", picture)
  stdout, _ = commands.call(*asked)
  assert answered[0] in stdout
  assert [path.name for path in (tmp_path / "maps").iterdir()] == ["000.jpg.heatmap.png"]
  page = tmp_path / "page.html"
  commands.call("--job=report", f"--workdir={trained}", f"--output={page}")
  text = page.read_text(encoding="utf-8")
  assert "VGG.config = &#39;A&#39;" in text
  assert 'class="absent"' not in text
  stdout, _ = commands.run("vggtf.main", "--job=summary", f"--workdir={trained}")
  assert f"{evaluated['top1_error']['value']:.2%}" in stdout
  assert str(saved_model) in stdout


def test_same_command_again_has_nothing_to_do(data, trained):
  _, stderr = commands.call(*SHORT, f"--data_dir={data}/records", f"--workdir={trained}")
  assert "nothing to do" in stderr


@pytest.mark.parametrize(
  ("number", "code"),
  [(signal.SIGKILL, -9), pytest.param(signal.SIGTERM, 42, marks=pytest.mark.slow)],
)
def test_an_interrupted_run_ends_with_the_same_bits(data, trained, tmp_path, number, code):
  command = (*SHORT, f"--data_dir={data}/records", f"--workdir={tmp_path}/run")
  process = commands.start(
    "vggtf.main", *command, env=os.environ | {"PYTHONPATH": str(commands.ROOT)}
  )
  deadline = time.monotonic() + 120
  while not list((tmp_path / "run" / "checkpoints").glob("step-*1?")):
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.01)
  process.send_signal(number)
  process.communicate()
  assert process.returncode == code
  assert checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").find("latest") < 40

  _, stderr = commands.run("vggtf.main", *command)
  assert "training from step 0" not in stderr
  ours, theirs = (
    tf.train.load_checkpoint(checkpoint.Checkpoints(run / "checkpoints").prefix(40))
    for run in (tmp_path / "run", trained)
  )
  names = sorted(ours.get_variable_to_shape_map())
  assert names == sorted(theirs.get_variable_to_shape_map())
  assert any("velocities" in name for name in names)
  for name in names:
    np.testing.assert_array_equal(ours.get_tensor(name), theirs.get_tensor(name), err_msg=name)


@pytest.mark.slow
def test_a_net_from_outside_trains(data, tmp_path):
  (tmp_path / "my_nets.py").write_text(
    "import tensorflow as tf\n"
    "from vggtf import contracts\n"
    "\n"
    "class Linear(tf.Module):\n"
    "  input_size = 32\n"
    "  def __init__(self, classes, mean_rgb, scale=255.0):\n"
    "    super().__init__()\n"
    "    self.classes, self._mean_rgb, self._scale = classes, mean_rgb, scale\n"
    "    self.weights = tf.Variable(tf.zeros([3072, classes]))\n"
    "  def __call__(self, images, training=None):\n"
    "    pixels = (tf.cast(images, tf.float32) - self._mean_rgb) / self._scale\n"
    "    return contracts.Outputs(tf.reshape(pixels, [-1, 3072]) @ self.weights)\n"
    "  def score_map(self, images):\n"
    "    return self(images[:, :32, :32]).logits[:, None, None]\n"
  )
  (tmp_path / "my_net.gin").write_text(
    "from __gin__ import dynamic_registration\n"
    'include "gin/quickstart.gin"\n'
    "import my_nets\n"
    "MODEL = @my_nets.Linear\n"
    "my_nets.Linear.scale = 128.0\n"
    "from vggtf.jobs import train\n"
    "train.run.steps = 1\n"
  )
  command = (
    "--gin_file=my_net.gin",
    f"--gin_search_paths={tmp_path}",
    f"--data_dir={data}/records",
    f"--workdir={tmp_path}/run",
  )
  _, stderr = commands.call(*command, code=2)
  assert stderr.endswith("allow with --gin_allow_import=my_nets\n")
  allowed = "--gin_allow_import=my_nets"
  told = (allowed, "--gin.train.run.log_every=1")
  _, stderr = commands.run("vggtf.main", *command, *told, path=tmp_path)
  assert "step 1 of 1" in stderr
  weights = tf.train.load_variable(
    checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").prefix(1),
    "model/weights/.ATTRIBUTES/VARIABLE_VALUE",
  )
  assert weights.any()

  # The run's own configuration imports it, too.
  evaluate = ("--job=evaluate", f"--workdir={tmp_path}/run")
  commands.call(*evaluate, code=2)
  stdout, _ = commands.run("vggtf.main", *evaluate, allowed, path=tmp_path)
  assert "top-1 error" in stdout
