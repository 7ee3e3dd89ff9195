"""Zeiler and Fergus's net against their figure 3 and a PyTorch net."""

import functools

import numpy as np
import pytest

from tests.models import costs, rivals, torch_rivals
from tests.models.torch_vgg import prepare
from tests.peers import needs_torch, torch
from vggtf.models import zfnet

build = functools.partial(rivals.build, zfnet.ZFNet, "fc8")
FULL = functools.partial(zfnet.ZFNet, classes=1000, mean_rgb=rivals.MEAN)


def test_number_of_parameters():
  convolutions = (7 * 7 * 3 + 1) * 96 + (25 * 96 + 1) * 256
  convolutions += (9 * 256 + 1) * 384 + (9 * 384 + 1) * 384 + (9 * 384 + 1) * 256
  full = (36 * 256 + 1) * 4096 + 4097 * 4096 + 4097 * 1000
  assert costs.parameters(FULL) == convolutions + full == 62_357_608


def test_multiply_adds():
  expected = {  # the sides of the maps are those of figure 3
    "conv1": 110**2 * 96 * 49 * 3,
    "conv2": 26**2 * 256 * 25 * 96,
    "conv3": 13**2 * 384 * 9 * 256,
    "conv4": 13**2 * 384 * 9 * 384,
    "conv5": 13**2 * 256 * 9 * 384,
    "fc6": 6 * 6 * 256 * 4096,
    "fc7": 4096 * 4096,
    "fc8": 4096 * 1000,
  }
  assert costs.multiply_adds(FULL) == expected
  assert sum(expected.values()) == 1_168_032_896


@needs_torch
def test_logits_are_those_of_torch(record_property):
  net, theirs = build(width=0.25), torch_rivals.zfnet(10, 0.25)
  torch_rivals.copy_weights(net, theirs)
  batch = rivals.pictures(2, 224)
  with torch.no_grad():
    expected = theirs(prepare(batch, rivals.MEAN)).numpy()[:, :, 0, 0]
  assert rivals.difference(net(batch).logits, expected, record_property) < 1e-3


@needs_torch
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
def test_map_of_a_larger_image_is_that_of_torch(rounding, record_property):
  net = build(width=0.25, input_size=96, pool_rounding=rounding)
  last_side = net.layers["fc6"].weights.shape[0]
  theirs = torch_rivals.zfnet(10, 0.25, last_side, ceil_mode=rounding == "ceil")
  torch_rivals.copy_weights(net, theirs)
  batch = rivals.pictures(1, 130, 171)
  with torch.no_grad():
    expected = theirs(prepare(batch, rivals.MEAN)).numpy().transpose(0, 2, 3, 1)
  assert rivals.difference(net.score_map(batch), expected, record_property) < 1e-3


@needs_torch
def test_gradients_are_those_of_torch():
  net = build(width=1 / 16, input_size=64, dropout=0.0)
  last_side = net.layers["fc6"].weights.shape[0]
  theirs = torch_rivals.zfnet(10, 1 / 16, last_side)
  torch_rivals.copy_weights(net, theirs)
  batch, labels = rivals.pictures(4, 64), np.array([0, 3, 9, 3])
  logits = theirs(prepare(batch, rivals.MEAN))[:, :, 0, 0]
  torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
  torch_rivals.assert_gradients(rivals.gradients(net, batch, labels, False), theirs)
