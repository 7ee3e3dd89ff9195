import functools

import numpy as np
import pytest

from tests.conformance import configurations
from tests.models import torch_rivals, torch_vgg
from tests.peers import needs_torch, torch

CLASSES = configurations.CLASSES


def vgg(config, input_size=224, width=0.125, norm=False):
  """Returns PyTorch's net of the paper, and how our weights get into it."""
  features, classifier = torch_vgg.build(config, CLASSES, input_size, width, norm=norm)
  whole = torch.nn.Sequential(features, classifier).eval()
  return whole, lambda net: torch_vgg.copy_weights(net, features, classifier)


def rival(make, width=0.125):
  theirs = make(CLASSES, width=width)
  return theirs, lambda net: torch_rivals.copy_weights(net, theirs)


# Who else has the net of a gin file: written from the papers, sharing nothing with ours.
PEERS = {
  "vgg11": functools.partial(vgg, "A"),
  "vgg11_lrn": functools.partial(vgg, "A-LRN"),
  "vgg13": functools.partial(vgg, "B"),
  "vgg13_shallow": functools.partial(vgg, "B-shallow"),
  "vgg16_1x1": functools.partial(vgg, "C"),
  "vgg16": functools.partial(vgg, "D"),
  "vgg19": functools.partial(vgg, "E"),
  "finetune": functools.partial(vgg, "D"),
  "cifar10_vgg16": functools.partial(vgg, "D", input_size=32, norm=True),
  "quickstart": functools.partial(vgg, "A", input_size=32, width=0.25),
  "alexnet": functools.partial(rival, torch_rivals.alexnet),
  "zfnet": functools.partial(rival, torch_rivals.zfnet),
  "googlenet": functools.partial(rival, torch_rivals.GoogLeNet),
}


def test_every_configuration_has_its_peer():
  assert sorted(PEERS) == configurations.NETS


@needs_torch
@pytest.mark.parametrize("name", configurations.NETS)
def test_logits_are_those_of_another_implementation(name):
  net = configurations.net(name)
  theirs, copy_weights = PEERS[name]()
  copy_weights(net)
  images = configurations.pictures(net.input_size)
  with torch.no_grad():
    answer = theirs(torch_vgg.prepare(images, configurations.MEAN_RGB))
  expected = (answer[0] if isinstance(answer, tuple) else answer).numpy().reshape(2, CLASSES)
  assert np.std(expected, axis=0).max() > 0  # the two pictures differ
  np.testing.assert_allclose(
    net(images).logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
  )
