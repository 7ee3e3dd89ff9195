"""Krizhevsky's net against his paper's numbers and a PyTorch net."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.models import costs, rivals, torch_rivals
from tests.models.torch_vgg import prepare
from tests.peers import needs_torch, torch
from vggtf import errors
from vggtf.models import alexnet
from vggtf.nn import initializers

build = functools.partial(rivals.build, alexnet.AlexNet, "fc8")
FULL = functools.partial(alexnet.AlexNet, classes=1000, mean_rgb=rivals.MEAN)


def test_number_of_parameters():
  assert costs.parameters(FULL) == 60_965_224  # "60 million" (its abstract)


def test_multiply_adds():
  side = {"conv1": 55, "conv2": 27, "conv3": 13, "conv4": 13, "conv5": 13}
  inputs = {"conv1": 363, "conv2": 25 * 48, "conv3": 9 * 256, "conv4": 9 * 192, "conv5": 9 * 192}
  outputs = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256}
  expected = {name: side[name] ** 2 * inputs[name] * outputs[name] for name in side}
  expected |= {"fc6": 6 * 6 * 256 * 4096, "fc7": 4096 * 4096, "fc8": 4096 * 1000}
  assert costs.multiply_adds(FULL) == expected
  assert sum(expected.values()) == 724_406_816


@needs_torch
@pytest.mark.parametrize("lrn_form", ["alexnet", "caffe"])
def test_logits_are_those_of_torch(lrn_form, record_property):
  net = build(width=0.25, lrn_form=lrn_form)
  theirs = torch_rivals.alexnet(10, 0.25, lrn_form=lrn_form)
  torch_rivals.copy_weights(net, theirs)
  batch = rivals.pictures(2, 227)
  with torch.no_grad():
    expected = theirs(prepare(batch, rivals.MEAN)).numpy()[:, :, 0, 0]
  assert rivals.difference(net(batch).logits, expected, record_property) < 1e-3


@needs_torch
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_map_of_a_larger_image_is_that_of_torch(rounding, record_property):
  net = build(width=0.25, pool_rounding=rounding)
  theirs = torch_rivals.alexnet(10, 0.25, ceil_mode=rounding == "ceil")
  torch_rivals.copy_weights(net, theirs)
  batch = rivals.pictures(1, 257, 310)
  with torch.no_grad():
    expected = theirs(prepare(batch, rivals.MEAN)).numpy().transpose(0, 2, 3, 1)
  unknown = [tf.TensorSpec([None, None, None, 3], tf.uint8)]
  for score_map in (net.score_map, tf.function(net.score_map, input_signature=unknown)):
    assert rivals.difference(score_map(batch), expected, record_property) < 1e-3


@needs_torch
@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradients_are_those_of_torch(jit_compile):
  net = build(width=1 / 16, input_size=67, dropout=0.0)
  theirs = torch_rivals.alexnet(10, 1 / 16, last_side=1)
  torch_rivals.copy_weights(net, theirs)
  batch, labels = rivals.pictures(4, 67), np.array([0, 3, 9, 3])
  logits = theirs(prepare(batch, rivals.MEAN))[:, :, 0, 0]
  torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
  torch_rivals.assert_gradients(rivals.gradients(net, batch, labels, jit_compile), theirs)


def test_first_values_are_those_of_the_paper():
  net = alexnet.AlexNet(10, rivals.MEAN, width=0.25, initializer=initializers.Gaussian())
  ones = {name for name, layer in net.layers.items() if (layer.biases.numpy() == 1).all()}
  zeros = {name for name, layer in net.layers.items() if (layer.biases.numpy() == 0).all()}
  assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}  # "and in the fully-connected hidden"
  assert zeros == {"conv1", "conv3", "fc8"}
  assert abs(np.std(net.layers["fc7"].weights) - 0.01) < 1e-4


def test_channels_stay_even_at_any_width():
  net = alexnet.AlexNet(10, rivals.MEAN, input_size=67, width=0.3)
  shapes = {name: tuple(layer.weights.shape) for name, layer in net.layers.items()}
  assert shapes["conv1"] == (11, 11, 3, 28)
  assert shapes["conv2"] == (5, 5, 14, 76)
  assert net(rivals.pictures(1, 67)).logits.shape == (1, 10)


def test_images_too_small_are_refused_with_the_least():
  with pytest.raises(errors.UsageError, match="take 67 or more"):
    alexnet.AlexNet(10, rivals.MEAN, input_size=66)
