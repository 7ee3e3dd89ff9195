"""Initialisers against the moments that their papers give."""

import math

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from vggtf.models import vgg
from vggtf.nn import heads, initializers

SHAPE = (3, 3, 64, 128)


@pytest.mark.parametrize(
  ("initializer", "std", "distribution"),
  [
    (initializers.Gaussian(), 0.01, "norm"),
    (initializers.Gaussian(std=0.1), 0.1, "norm"),
    (initializers.He(), math.sqrt(2 / (9 * 64)), "norm"),
    (initializers.Glorot(), math.sqrt(2 / (9 * 64 + 9 * 128)), "uniform"),
  ],
)
def test_distribution(initializer, std, distribution):
  weights = initializer(SHAPE, initializers.key(0, "conv2_1"))
  assert weights.dtype == tf.float32
  assert weights.shape == SHAPE
  values = np.ravel(weights).astype(np.float64)
  assert abs(values.mean()) < 4 * std / math.sqrt(values.size)
  np.testing.assert_allclose(values.std(), std, rtol=0.01)
  side = math.sqrt(3) * std
  arguments = {"norm": (0, std), "uniform": (-side, 2 * side)}[distribution]
  assert scipy.stats.kstest(values, distribution, arguments).pvalue > 0.001


@pytest.mark.parametrize(
  "initializer", [initializers.Gaussian(), initializers.He(), initializers.Glorot()]
)
def test_draw_depends_on_seed_and_name_alone(initializer):
  first = initializer(SHAPE, initializers.key(0, "conv2_1")).numpy()
  np.testing.assert_array_equal(first, initializer(SHAPE, initializers.key(0, "conv2_1")))
  for other in (initializers.key(1, "conv2_1"), initializers.key(0, "conv2_2")):
    assert abs(np.corrcoef(first.ravel(), np.ravel(initializer(SHAPE, other)))[0, 1]) < 0.02


def test_layers_that_two_nets_share_start_alike():
  options = {"classes": 10, "mean_rgb": (0.0, 0.0, 0.0), "input_size": 32, "width": 1 / 16}
  shallow, deep = (vgg.VGG(config=config, **options) for config in ("A", "E"))
  for name in ("conv1_1", "conv3_2", "fc6", "fc8"):
    np.testing.assert_array_equal(shallow.layers[name].weights, deep.layers[name].weights)
  reseeded = vgg.VGG(config="A", seed=1, **options)
  assert not np.allclose(shallow.layers["fc6"].weights, reseeded.layers["fc6"].weights)


def test_a_fully_connected_layer_is_drawn_as_a_matrix_whatever_map_it_sees():
  shape, key = (7, 7, 64, 512), initializers.key(0, "fc6")

  def draw(initializer):
    return heads.FullyConnected("fc6", 7, 64, 512, initializer, seed=0).weights.numpy()

  limit = math.sqrt(6 / (7 * 7 * 64 + 512))
  assert np.abs(draw(initializers.Glorot())).max() == pytest.approx(limit, rel=1e-4)
  for initializer in (initializers.Gaussian(), initializers.He()):
    np.testing.assert_array_equal(draw(initializer), initializer(shape, key))
