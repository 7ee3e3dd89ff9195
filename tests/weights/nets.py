"""Small nets with weights that no mistake of axes, order or sign survives."""

import functools

import numpy as np
import tensorflow as tf

from vggtf import weights
from vggtf.models import vgg

LABELS = ("crane [bird]", "crane: machine", "Ünïcode", "d", "e", "f", "g")
MEAN = (123.68, 116.779, 103.939)
SMALL = {"classes": len(LABELS), "mean_rgb": MEAN, "input_size": 64, "width": 1 / 16}


def build(seed=0, **options):
  """Returns a net whose every variable is drawn, so that its logits are of the order of 1."""
  model = vgg.VGG(**{**SMALL, **options, "initializer": _zeros})
  draws = np.random.default_rng(seed)
  for variable in model.variables:
    if "weights" in variable.name:
      inputs = np.prod(variable.shape[:-1])
      value = draws.normal(size=variable.shape) * np.sqrt(2 / inputs)
      variable.assign(value / (64 if "fc8" in variable.name else 1))
    elif "mean_rgb" not in variable.name:
      variable.assign(draws.uniform(0.5, 1.5, variable.shape))
  return model


def weights_of(model, **facts) -> weights.Weights:
  """Returns a net's variables in canonical form."""
  tensors = {one.name.split(":")[0]: one.numpy() for one in model.variables if "/" in one.name}
  return weights.Weights(tensors, weights.Facts(**{"mean_rgb": MEAN, "labels": LABELS, **facts}))


@functools.cache
def small(config="D", norm=None, **facts) -> weights.Weights:
  """Returns the weights of a small net."""
  lrn = {"lrn_form": "alexnet"} if config == "A-LRN" else {}
  return weights_of(build(config=config, norm=norm), **{"input_size": 64, **lrn, **facts})


def images(count, height, width=None):
  shape = (count, height, width or height, 3)
  return tf.constant(np.random.default_rng(3).integers(0, 256, shape), tf.uint8)


def assert_equal(found: weights.Weights, expected: weights.Weights):
  """Bits, names and facts."""
  assert found.tensors.keys() == expected.tensors.keys()
  for name, tensor in expected.tensors.items():
    assert found.tensors[name].dtype == np.float32
    np.testing.assert_array_equal(found.tensors[name], tensor, err_msg=name)
  assert found.facts == expected.facts


def assert_near(ours, theirs, tolerance=1e-4):
  """Logits agree relative to the largest, and are not all alike."""
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  assert theirs.std() > 1e-3 * np.abs(theirs).max()
  difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
  print(f"relative difference {difference:.1e}")
  assert difference < tolerance


def _zeros(shape, key):
  del key
  return tf.zeros(shape)
