"""Runs with other optimizers, averages and first weights: how they go on and what they refuse."""

import functools
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests import samples
from tests.jobs import runs
from vggtf import errors, metrics, workdir
from vggtf.evaluators import classification
from vggtf.jobs import evaluate, export
from vggtf.losses import weight_decay
from vggtf.optimizers import adamw, addons, clip, groups, lars, sgd
from vggtf.training import averaging, trained

ROOT = pathlib.Path(__file__).parents[2]
EMA = functools.partial(averaging.ExponentialMovingAverage, 0.5)
MOMENTUM = {"momentum": 0.9}
OPTIMIZERS = {
  "adamw": adamw.AdamW,
  "clipped lars by name": functools.partial(
    clip.ByGlobalNorm,
    functools.partial(
      groups.ByName, functools.partial(lars.LARS, sgd.SGD), {"conv1_1": 0.0, "fc8": 10.0}
    ),
    norm=1.0,
  ),
}
ADDONS = {
  "Lookahead(SGD)": functools.partial(
    addons.Optimizer, "SGD", MOMENTUM, (("Lookahead", {"sync_period": 2}),)
  ),
  "SGDW": functools.partial(addons.Optimizer, "SGDW", MOMENTUM, weight_decay_per_rate=0.1),
  "LAMB": functools.partial(addons.Optimizer, "LAMB", {"weight_decay": 0.01}),
  "MovingAverage(SGD)": functools.partial(
    addons.Optimizer, "SGD", MOMENTUM, (("MovingAverage", {"average_decay": 0.5}),)
  ),
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data")


@pytest.mark.parametrize(
  "name", [*OPTIMIZERS, *(pytest.param(name, marks=pytest.mark.slow) for name in ADDONS)]
)
def test_a_run_that_stopped_goes_on_bit_for_bit(name, data_dir, tmp_path):
  run = functools.partial(
    runs.run,
    data_dir=data_dir,
    optimizer=(OPTIMIZERS | ADDONS)[name],
    weight_decay=weight_decay.Nothing,
    averaging=EMA,
    weights="ema",
    evaluate_every=6,
  )
  run(tmp_path / "run")
  first, expected = (runs.saved(tmp_path / "run", step) for step in (3, 6))
  shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000006")  # as if killed before it
  run(tmp_path / "run")
  found = runs.saved(tmp_path / "run", 6)
  assert found == expected
  changed = {one.partition("/")[0] for one in found if found[one] != first[one]}
  assert changed >= {"model", "optimizer", "averaging", "step"}


def restored(folder, weights):
  folder = workdir.Workdir(str(folder))
  return trained.load_model(folder, folder.read_facts(), runs.MODEL, "latest", weights)[0]


class Weighed(classification.Classification):
  """Measures by a number that tells nets apart, which errors on 17 pictures may not."""

  def __init__(self, net, data_dir):
    super().__init__(net, data_dir, runs.CENTRE)
    self._net = net

  def measure(self, *given, **share):
    *others, found = super().measure(*given, **share)
    return [
      *others,
      found._replace(means={"top1_error": metrics.Mean(weigh(self._net.layers["fc8"].weights), 1)}),
    ]


def weigh(weights):
  return float(np.exp(-np.linalg.norm(weights)))  # a fraction


def test_averages_are_measured_saved_and_chosen(data_dir, tmp_path, capsys):
  runs.run(tmp_path / "run", data_dir, averaging=EMA, weights="ema", evaluator=Weighed)
  layers = [restored(tmp_path / "run", weights).layers["fc8"] for weights in ("raw", "ema")]
  raw, ema = (weigh(layer.weights) for layer in layers)
  shape = layers[0].weights.shape.as_list()
  assert raw != ema
  folder = workdir.Workdir(str(tmp_path / "run"))
  last = folder.read_results()[-1]
  assert (last["step"], last["value"]) == (runs.STEPS, ema)
  assert last["protocol"] == "centre 32 of 32, averaged weights"

  for weights, value, protocol in (
    ("raw", raw, "centre 32 of 32"),
    ("ema", ema, "centre 32 of 32, averaged weights"),
  ):
    evaluate.run(str(folder.path), runs.MODEL, Weighed, weights=weights)
    last = folder.read_results()[-1]
    assert (last["value"], last["protocol"]) == (value, protocol)
    assert protocol in capsys.readouterr().out

  for weights in ("raw", "ema"):
    export.run(str(folder.path), runs.MODEL, runs.CENTRE, weights=weights)
    exported = pathlib.Path(capsys.readouterr().out.strip())
    saved = tf.train.load_checkpoint(str(exported / "variables" / "variables"))
    (name,) = (one for one, found in saved.get_variable_to_shape_map().items() if found == shape)
    assert weigh(saved.get_tensor(name)) == {"raw": raw, "ema": ema}[weights]
    shutil.rmtree(exported)


def test_a_run_whose_averages_are_measured_trains_as_one_without(data_dir, tmp_path):
  runs.run(tmp_path / "with", data_dir, averaging=EMA, weights="ema")
  runs.run(tmp_path / "without", data_dir)
  found, expected = (restored(tmp_path / name, "raw") for name in ("with", "without"))
  for ours, theirs in zip(found.variables, expected.variables, strict=True):
    np.testing.assert_array_equal(ours, theirs)


TWO_DEVICES = """
import functools, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.jobs import test_train_parts as parts
parts.two_steps(sys.argv[1], sys.argv[2],
  strategy=functools.partial(tf.distribute.MirroredStrategy, ["/cpu:0", "/cpu:1"]))
"""


def two_steps(folder, data_dir, **changes):
  """Trains and measures averages, on any devices."""
  runs.run(
    folder,
    data_dir,
    model=functools.partial(runs.MODEL, norm=None, dropout=0.0),
    averaging=EMA,
    weights="ema",
    evaluator=Weighed,
    steps=2,
    **changes,
  )


@pytest.mark.slow
def test_replicas_train_average_and_measure_as_one_device(data_dir, tmp_path):
  """P10, for the replicas of one process."""
  two_steps(tmp_path / "one", data_dir)
  subprocess.run(
    [sys.executable, "-c", TWO_DEVICES, str(tmp_path / "two"), data_dir],
    cwd=ROOT,
    check=True,
    capture_output=True,
  )
  one, two = (workdir.Workdir(str(tmp_path / name)).read_results() for name in ("one", "two"))
  assert [line["value"] for line in two] == pytest.approx([line["value"] for line in one], rel=1e-5)
  one, two = (runs.saved(tmp_path / name, 2) for name in ("one", "two"))
  assert one.keys() == two.keys()
  kinds = ("model/layers", "optimizer/velocities", "averaging/")
  compared = [name for name in one if name.startswith(kinds)]
  layers = len(runs.MODEL(classes=4, mean_rgb=(0.0, 0.0, 0.0)).layers)
  assert len(compared) == 3 * 2 * layers + 1  # and an average of the mean RGB
  for name in compared:
    found, expected = (np.frombuffer(bits[name], np.float32) for bits in (two, one))
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected), name


def test_the_command_line_has_the_keras_that_addons_need(data_dir, tmp_path):
  environment = {name: one for name, one in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
  flags = [
    "--gin_file=gin/quickstart.gin",
    "--gin_file=gin/with/addons_lamb.gin",
    "--gin_file=gin/with/addons_focal.gin",
    "--gin_param=train.run.steps = 0",
    "--gin_param=vgg.VGG.width = 0.05",
    "--gin_param=pipeline.TrainingFeed.batch_size = 8",
    f"--data_dir={data_dir}",
    f"--workdir={tmp_path / 'run'}",
  ]
  reply = subprocess.run(
    [sys.executable, "-m", "vggtf.main", *flags],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
  )
  assert reply.returncode == 0, reply.stderr[-2000:]
  assert any("slots" in name for name in runs.saved(tmp_path / "run", 0))


def test_averages_that_are_not_there_are_refused(data_dir, tmp_path):
  with pytest.raises(errors.UsageError, match=r"weights = 'ema' needs train\.run\.averaging"):
    runs.run(tmp_path / "run", data_dir, weights="ema")
  runs.run(tmp_path / "run", data_dir, steps=0)
  with pytest.raises(errors.UsageError, match=r"trained without averages.*with/ema\.gin"):
    restored(tmp_path / "run", "ema")
  with pytest.raises(errors.UsageError, match="weights = 'best' is unknown"):
    restored(tmp_path / "run", "best")


def test_first_weights_come_from_a_plugin_once(data_dir, tmp_path, caplog):
  called = []

  def initial(net):
    called.append(net)
    net.layers["fc8"].biases.assign([1.0, 2.0, 3.0, 4.0])
    return "fc8/biases: copied"

  caplog.set_level(logging.INFO, "vggtf")
  lookahead = functools.partial(runs.run, optimizer=ADDONS["Lookahead(SGD)"], initial=initial)
  lookahead(tmp_path / "run", data_dir, steps=0, averaging=EMA)
  assert "initial weights: fc8/biases: copied" in caplog.text
  assert (tmp_path / "run" / "initial.txt").read_text() == "fc8/biases: copied\n"
  first = np.array([1, 2, 3, 4], np.float32).tobytes()
  # The net's, the average's and Lookahead's slow copy.
  assert sum(bits == first for bits in runs.saved(tmp_path / "run", 0).values()) == 3

  lookahead(tmp_path / "run", data_dir, steps=1, averaging=EMA)
  assert len(called) == 1


def test_two_weight_decays_are_refused(data_dir, tmp_path):
  with pytest.raises(errors.UsageError, match=r"AdamW decays weights by itself, and L2 would"):
    runs.run(tmp_path / "run", data_dir, optimizer=adamw.AdamW)
  quiet = functools.partial(weight_decay.L2, 0.0)
  runs.run(tmp_path / "run", data_dir, optimizer=adamw.AdamW, weight_decay=quiet, steps=0)


def test_a_misspelt_layer_is_refused_before_training(data_dir, tmp_path):
  optimizer = functools.partial(groups.ByName, sgd.SGD, {"fc9": 10.0})
  with pytest.raises(errors.UsageError, match="'fc9' matches no layer"):
    runs.run(tmp_path / "run", data_dir, optimizer=optimizer)
