"""Runs' folders: what is read of them, and that a written one is the net that vggtf builds."""

import ast

import numpy as np
import pytest
import tensorflow as tf

from tests.weights import nets
from vggtf import errors, weights, workdir
from vggtf.models import vgg
from vggtf.training import averaging, checkpoint, trained
from vggtf.weights import canonical, checkpoints


def save(folder, model, average=None, step=3, config="", **facts):
  run = workdir.Workdir(str(folder))
  parts = {"model": model, "step": tf.Variable(step)}
  state = tf.train.Checkpoint(**parts, **({"averaging": average} if average else {}))
  checkpoint.Checkpoints(run.checkpoints).save(state, step)
  run.write_facts(workdir.RunFacts(nets.LABELS, nets.MEAN, "data", "", {}, {}))
  workdir.write_text(run.config, config)


@pytest.mark.parametrize(("config", "norm"), [("C", None), ("A-LRN", None), ("D", "batch")])
def test_a_run_is_read(tmp_path, config, norm):
  model = nets.build(config=config, norm=norm)
  text = f"vgg.VGG.config = {config!r}\nVGG.pool_rounding = 'ceil'\nvgg.VGG.initializer = @He()\n"
  save(tmp_path, model, config=text)
  lrn = {"lrn_form": "alexnet"} if config == "A-LRN" else {}
  expected = nets.weights_of(model, pool_rounding="ceil", **lrn)
  nets.assert_equal(weights.read(tmp_path), expected)


def test_the_newest_or_the_averages(tmp_path):
  old, new = nets.build(seed=1), nets.build(seed=2)
  average = averaging.ExponentialMovingAverage(decay=0.5)
  average.build(new.variables)
  for variable in average.averages:
    variable.assign(variable + 1)
  save(tmp_path, old, step=3)
  save(tmp_path, new, average, step=5)
  nets.assert_equal(weights.read(tmp_path), nets.weights_of(new))
  found = weights.read(tmp_path, "ema")
  assert found.tensors.keys() == nets.weights_of(new).tensors.keys()
  for name, tensor in nets.weights_of(new).tensors.items():
    np.testing.assert_array_equal(found.tensors[name], tensor + 1)


def test_what_is_not_there_is_said(tmp_path):
  save(tmp_path / "run", nets.build())
  with pytest.raises(errors.UsageError, match="no averages"):
    weights.read(tmp_path / "run", "ema")
  with pytest.raises(errors.UsageError, match="'raw', 'ema'"):
    weights.read(tmp_path / "run", "mean")
  (tmp_path / "empty").mkdir()
  with pytest.raises(errors.UsageError, match="holds no run"):
    weights.read(tmp_path / "empty")
  weights.write(tmp_path / "x.npz", nets.small("D"))
  with pytest.raises(errors.UsageError, match="is for a run's folder"):
    weights.read(tmp_path / "x.npz", "ema")


@pytest.mark.parametrize(
  ("config", "norm"),
  [("A", "group"), ("A-LRN", None), ("B-shallow", None), ("C", "batch"), ("E", None)],
)
def test_a_written_run_is_what_its_configuration_builds(tmp_path, config, norm):
  lrn = {"lrn_form": "caffe"} if config == "A-LRN" else {}
  expected = nets.build(config=config, norm=norm, pool_rounding="ceil", **lrn)
  content = nets.weights_of(expected, pool_rounding="ceil", **lrn)
  checkpoints.write_run(tmp_path / "run", content, "")
  run = workdir.Workdir(str(tmp_path / "run"))
  options = {
    line.split(" = ")[0].removeprefix("vgg.VGG."): ast.literal_eval(line.split(" = ")[1])
    for line in run.config.read_text().splitlines()
    if line.startswith("vgg.VGG.")
  }
  facts = run.read_facts()
  net, step = trained.load_model(run, facts, lambda **kw: vgg.VGG(**options, **kw), "latest")
  assert step == 0
  batch = nets.images(2, 64)
  np.testing.assert_array_equal(net(batch).logits, expected(batch).logits)


def test_channels_that_no_width_gives_are_refused(tmp_path):
  tensors = dict(nets.small("A").tensors)
  tensors["fc6/weights"] = tensors["fc6/weights"][..., :-7]
  tensors["fc6/biases"] = tensors["fc6/biases"][:-7]
  tensors["fc7/weights"] = tensors["fc7/weights"][:, :, :-7]
  content = weights.Weights(tensors, nets.small("A").facts)
  with pytest.raises(errors.UsageError, match="fc6 249"):
    checkpoints.write_run(tmp_path / "run", content, "")
  assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_left_alone(tmp_path):
  (tmp_path / "note").write_text("mine")
  with pytest.raises(errors.UsageError, match="not empty"):
    checkpoints.write_run(tmp_path, nets.small("A"), "")


def test_table_1_is_that_of_the_nets():
  ours = {
    name: tuple(tuple(side for side in block if side != vgg.LRN) for block in blocks)
    for name, blocks in vgg.CONFIGS.items()
  }
  assert ours.pop("A-LRN") == ours["A"]
  assert ours == canonical.CONFIGS
  assert vgg.BLOCK_CHANNELS == checkpoints._CHANNELS
