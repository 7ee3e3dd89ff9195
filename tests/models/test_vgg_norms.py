"""VGG nets with batch and group norms: against PyTorch, and on two replicas."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.models import torch_vgg
from tests.peers import needs_torch, torch
from tests.training import parts
from vggtf.models import vgg
from vggtf.nn import initializers

ROOT = pathlib.Path(__file__).parents[2]


@needs_torch
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_logits_at_evaluation_are_those_of_torch(norm):
  net = vgg.VGG(10, parts.MEAN_RGB, "D", 64, width=1 / 8, norm=norm, initializer=initializers.He())
  random = np.random.default_rng(5)
  for layer in net.norms.values():
    for variable in layer.variables:  # none as it is drawn; a variance is positive
      variable.assign(random.uniform(0.5, 1.5, variable.shape).astype(np.float32))
  features, classifier = torch_vgg.build("D", 10, input_size=64, width=1 / 8)
  torch_vgg.copy_weights(net, features, classifier)
  layers, ours = [], iter(net.norms.values())
  for layer in features:
    layers.append(layer)
    if isinstance(layer, torch.nn.Conv2d):
      layers.append(convert(norm, next(ours), layer.out_channels))
  images = tf.constant(random.integers(0, 256, (2, 64, 64, 3)), tf.uint8)
  with torch.no_grad():
    maps = torch.nn.Sequential(*layers).eval()(torch_vgg.prepare(images, parts.MEAN_RGB))
    expected = classifier(maps).numpy()
  assert np.std(expected) > 0.1
  np.testing.assert_allclose(
    net(images).logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
  )


def convert(norm, ours, channels):
  """Returns PyTorch's norm with the values of ours."""
  if norm == "group":
    theirs = torch.nn.GroupNorm(min(32, channels), channels)
  else:
    theirs = torch.nn.BatchNorm2d(channels)
    theirs.running_mean.copy_(torch.tensor(ours.moving_mean.numpy()))
    theirs.running_var.copy_(torch.tensor(ours.moving_variance.numpy()))
  with torch.no_grad():
    theirs.weight.copy_(torch.tensor(ours.scale.numpy()))
    theirs.bias.copy_(torch.tensor(ours.offset.numpy()))
  return theirs


TWO_DEVICES = """
import json
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.training import parts
strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
mirrored = parts.build(strategy, norm="batch")
mirrored.take(parts.batches(1, strategy), 1)
first = mirrored.net.norms["conv1_1"]
print(json.dumps([
  [one.numpy().tolist() for one in strategy.experimental_local_results(variable)]
  for variable in (first.moving_mean, first.moving_variance)
]))
"""


def test_replicas_norm_by_their_own_half_and_share_the_mean_of_their_statistics():
  reply = subprocess.run(
    [sys.executable, "-c", TWO_DEVICES], cwd=ROOT, capture_output=True, text=True, check=True
  )
  means, variances = np.array(json.loads(reply.stdout))
  images = parts.arrays(1).image[0]
  maps = parts.net().layers["conv1_1"](images - np.float32(parts.MEAN_RGB)).numpy()
  halves = maps.astype(np.float64).reshape(2, -1, maps.shape[-1])
  for replica in (0, 1):
    np.testing.assert_allclose(means[replica], 0.1 * halves.mean(1).mean(0), rtol=1e-4, atol=1e-4)
    expected = 0.9 + 0.1 * halves.var(1, ddof=1).mean(0)
    np.testing.assert_allclose(variances[replica], expected, rtol=1e-4)
