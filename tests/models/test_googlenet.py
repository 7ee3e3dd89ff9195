"""GoogLeNet against its paper's table 1 and a PyTorch net."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.models import costs, rivals, torch_rivals
from tests.models.torch_vgg import prepare
from tests.peers import needs_torch, torch
from vggtf import errors
from vggtf.models import googlenet

build = functools.partial(rivals.build, googlenet.GoogLeNet, "loss3/classifier")
FULL = functools.partial(googlenet.GoogLeNet, classes=1000, mean_rgb=rivals.MEAN)


def by_stage(multiply_adds):
  """Returns them by what comes before the slash."""
  stages = collections.Counter()
  for name, cost in multiply_adds.items():
    stages[name.partition("/")[0].removeprefix("inception_")] += cost
  return dict(stages)


def test_number_of_parameters():
  expected = (49 * 3 + 1) * 64 + (64 + 1) * 64 + (9 * 64 + 1) * 192 + (1024 + 1) * 1000
  inputs = 192
  for one, before_3, three, before_5, five, after in torch_rivals.TABLE.values():
    expected += (inputs + 1) * (one + before_3 + before_5 + after)
    expected += (9 * before_3 + 1) * three + (25 * before_5 + 1) * five
    inputs = one + three + five + after
  assert costs.parameters(functools.partial(FULL, auxiliary=False)) == expected == 6_998_552
  for inputs in (512, 528):
    expected += (inputs + 1) * 128 + (16 * 128 + 1) * 1024 + (1024 + 1) * 1000
  assert costs.parameters(FULL) == expected == 13_378_280


def test_multiply_adds_are_those_of_table_1():
  found = by_stage(costs.multiply_adds(FULL))
  millions = {"conv2": 360, "3a": 128, "3b": 304, "4a": 73, "4b": 88, "4c": 100, "4d": 119}
  millions |= {"4e": 170, "5b": 71, "loss3": 1}
  for stage, count in millions.items():
    assert abs(found[stage] / 10**6 - count) < 1, stage
  # In two rows the table has what its own channels do not give: 34 M and 54 M.
  assert found["conv1"] == 112**2 * 64 * 49 * 3
  assert found["5a"] == 7**2 * (832 * (256 + 160 + 32 + 128) + 9 * 160 * 320 + 25 * 32 * 128)
  assert sum(found.values()) == 1_582_671_872
  with_heads = by_stage(costs.multiply_adds(FULL, rivals.training))
  for head, inputs in (("loss1", 512), ("loss2", 528)):
    assert with_heads.pop(head) == 16 * inputs * 128 + 16 * 128 * 1024 + 1024 * 1000
  assert with_heads == found


def test_reduction_is_what_makes_it_affordable():
  naive = functools.partial(FULL, inception="naive", auxiliary=False)
  assert costs.parameters(naive) == 97_526_008
  assert sum(costs.multiply_adds(naive).values()) == 12_568_061_056


@needs_torch
@pytest.mark.parametrize(
  ("width", "options"), [(0.25, {}), (0.25, {"lrn_form": "alexnet"}), (1 / 16, {"naive": True})]
)
def test_logits_are_those_of_torch(width, options, monkeypatch, record_property):
  monkeypatch.setattr(googlenet, "AUXILIARY_DROPOUT", 0.0)
  form = {"inception": "naive"} if options.get("naive") else options
  net = build(width=width, dropout=0.0, **form)
  theirs = torch_rivals.GoogLeNet(10, width=width, **options)
  torch_rivals.copy_weights(net, theirs)
  batch = rivals.pictures(2, 224)
  with torch.no_grad():
    last, *early = [maps.numpy()[:, :, 0, 0] for maps in theirs(prepare(batch, rivals.MEAN))]
  evaluated, trained = net(batch), net(batch, rivals.training())
  assert evaluated.auxiliary == ()
  assert evaluated.features.shape == (2, net.layers["loss3/classifier"].weights.shape[2])
  assert rivals.difference(evaluated.logits, last, record_property) < 1e-3
  assert rivals.difference(trained.logits, last, record_property) < 1e-3
  for ours, expected in zip(trained.auxiliary, early, strict=True):
    assert rivals.difference(ours, expected, record_property) < 1e-3 * np.abs(expected).max()


@needs_torch
def test_gradients_are_those_of_torch(monkeypatch):
  monkeypatch.setattr(googlenet, "AUXILIARY_DROPOUT", 0.0)
  net = build(width=1 / 8, input_size=96, dropout=0.0)
  theirs = torch_rivals.GoogLeNet(10, side=3, early_side=1, width=1 / 8)
  torch_rivals.copy_weights(net, theirs)
  batch, labels = rivals.pictures(4, 96), np.array([0, 3, 9, 3])
  loss = torch.nn.CrossEntropyLoss()
  last, *early = [
    loss(maps[:, :, 0, 0], torch.tensor(labels)) for maps in theirs(prepare(batch, rivals.MEAN))
  ]
  (last + 0.3 * sum(early)).backward()
  torch_rivals.assert_gradients(rivals.gradients(net, batch, labels, False), theirs)


@needs_torch
def test_map_of_a_larger_image_is_that_of_torch(record_property):
  net = build(width=1 / 8)
  theirs = torch_rivals.GoogLeNet(10, width=1 / 8)
  torch_rivals.copy_weights(net, theirs)
  batch = rivals.pictures(1, 257, 331)
  with torch.no_grad():
    expected = theirs(prepare(batch, rivals.MEAN))[0].numpy().transpose(0, 2, 3, 1)
  unknown = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
  for score_map in (net.score_map, tf.function(net.score_map, input_signature=unknown)):
    assert rivals.difference(score_map(batch), expected, record_property) < 1e-3


def test_names_are_those_of_caffe():
  net = build(width=1 / 16)
  assert list(net.layers)[:9] == [
    "conv1/7x7_s2",
    "conv2/3x3_reduce",
    "conv2/3x3",
    "inception_3a/1x1",
    "inception_3a/3x3_reduce",
    "inception_3a/3x3",
    "inception_3a/5x5_reduce",
    "inception_3a/5x5",
    "inception_3a/pool_proj",
  ]
  names = {variable.name for variable in net.variables}
  assert len(names) == len(net.variables)
  assert {"loss1/fc/weights:0", "loss2/classifier/biases:0"} <= names
  assert list(net.layers)[-1] == "loss3/classifier"


def test_dropout_drops_in_training_only():
  net = build(width=1 / 16, input_size=96)
  batch = rivals.pictures(2, 96)
  once, again = net(batch, rivals.training()), net(batch, rivals.training())
  np.testing.assert_array_equal(once.logits, again.logits)
  dropped = np.mean(once.features.numpy() == 0) - np.mean(net(batch).features.numpy() == 0)
  assert 0.25 < dropped < 0.55


def test_bfloat16_is_near_float32_and_gives_float32():
  batch = rivals.pictures(2, 96)
  options = {"width": 1 / 16, "input_size": 96}
  exact, outputs = build(**options)(batch), build(**options, compute_dtype="bfloat16")(batch)
  assert outputs.logits.dtype == outputs.features.dtype == tf.float32
  error = np.linalg.norm(outputs.logits - exact.logits) / np.linalg.norm(exact.logits)
  assert 1e-5 < error < 0.05


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"inception": "v3"}, "'naive'"),
    ({"input_size": 64}, "auxiliary=False leaves out: take 79 or more"),
    ({"input_size": 64, "pool_rounding": "floor"}, "take 93 or more"),
    ({"input_size": 30, "auxiliary": False}, "take 31 or more"),
  ],
)
def test_impossible_options_are_refused_with_what_is_possible(options, told):
  with pytest.raises(errors.UsageError) as caught:
    googlenet.GoogLeNet(10, rivals.MEAN, **{"width": 1 / 16, **options})
  assert told in str(caught.value)
