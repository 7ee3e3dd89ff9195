"""Layers against NumPy in float64, SciPy and PyTorch."""

import math

import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

from vggtf import contracts, errors
from vggtf.nn import heads, initializers, layers

SEED = tf.constant([3, -4])


def normal(*shape):
  return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("side", [1, 3])
def test_convolution_is_scipys_correlation(side):
  layer = layers.Convolution("conv1_1", side, 2, 4, initializers.He(), seed=0)
  layer.biases.assign([1.0, 2.0, 3.0, 4.0])
  maps, weights = normal(1, 6, 5, 2), layer.weights.numpy()
  expected = np.zeros((6, 5, 4))
  for output in range(4):
    expected[..., output] = (
      output
      + 1
      + sum(
        scipy.signal.correlate2d(maps[0, ..., channel], weights[..., channel, output], "same")
        for channel in range(2)
      )
    )
  np.testing.assert_allclose(layer(tf.constant(maps))[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("shape", [(6, 4), (7, 5), (1, 2)])
def test_max_pool_is_that_of_torch(shape, rounding):
  torch = pytest.importorskip("torch")
  maps = normal(2, *shape, 3) - 5  # negative: padding with zeros would show
  if rounding == "floor" and min(shape) == 1:
    assert layers.max_pool(maps, rounding).shape == (2, 0, 1, 3)
    return
  pool = torch.nn.MaxPool2d(2, 2, ceil_mode=rounding == "ceil")
  expected = pool(torch.tensor(maps.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
  np.testing.assert_array_equal(layers.max_pool(maps, rounding), expected)
  assert expected.shape[1] == layers.pooled_side(shape[0], rounding)


def test_unknown_rounding_is_refused():
  with pytest.raises(errors.UsageError, match="'floor', 'ceil'"):
    layers.max_pool(normal(1, 4, 4, 1), "round")


def test_fully_connected_layer_is_one_matrix_and_one_kernel():
  layer = heads.FullyConnected("fc6", 3, 4, 8, initializers.He(), seed=0)
  layer.biases.assign(normal(8))
  maps = normal(2, 3, 3, 4)
  weights = layer.weights.numpy().astype(np.float64)
  expected = maps.reshape(2, 36) @ weights.reshape(36, 8) + layer.biases.numpy()
  product = layer(tf.constant(maps))
  assert product.shape == (2, 1, 1, 8)
  np.testing.assert_allclose(product[:, 0, 0], expected, rtol=1e-5, atol=1e-5)
  unknown = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 4])])
  np.testing.assert_allclose(unknown(maps), product, rtol=1e-5, atol=1e-5)
  assert len(layer.variables) == 2


def test_fully_connected_layer_slides_over_larger_maps():
  layer = heads.FullyConnected("fc6", 3, 4, 8, initializers.He(), seed=0)
  maps = tf.constant(normal(2, 5, 6, 4))
  whole = layer(maps)
  assert whole.shape == (2, 3, 4, 8)
  for row, column in np.ndindex(3, 4):
    window = layer(maps[:, row : row + 3, column : column + 3])
    np.testing.assert_allclose(whole[:, row, column], window[:, 0, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5])
def test_dropout_keeps_its_share_and_scales_it(rate):
  ones = tf.ones((100, 1000))
  dropped = layers.dropout(ones, rate, "fc6", contracts.Training(SEED)).numpy()
  np.testing.assert_allclose(np.unique(dropped), [0, 1 / (1 - rate)][rate == 0 :], rtol=1e-6)
  kept = np.count_nonzero(dropped) / dropped.size
  assert abs(kept - (1 - rate)) <= 4 * math.sqrt(rate * (1 - rate) / dropped.size)


def test_dropout_is_the_same_however_it_runs():
  ones = tf.ones((4, 1, 1, 512))

  def drop(activations, seed):
    return layers.dropout(activations, 0.5, "fc6", contracts.Training(seed))

  eager = drop(ones, SEED)
  np.testing.assert_array_equal(eager, tf.function(drop)(ones, SEED))
  np.testing.assert_array_equal(eager, tf.function(drop, jit_compile=True)(ones, SEED))


def test_dropout_differs_by_seed_and_layer():
  ones = tf.ones(10_000)
  masks = [
    layers.dropout(ones, 0.5, name, contracts.Training(tf.constant(seed))).numpy()
    for name, seed in [("fc6", [1, 2]), ("fc7", [1, 2]), ("fc6", [1, 3]), ("fc6", [2, 1])]
  ]
  assert np.abs(np.corrcoef(masks) - np.eye(4)).max() < 0.05


def test_replicas_have_the_masks_that_one_device_has():
  ones = tf.ones([8, 3, 5])
  whole = layers.dropout(ones, 0.5, "fc6", contracts.Training(SEED))
  halves = [
    layers.dropout(ones[:4], 0.5, "fc6", contracts.Training(SEED, first_example=first))
    for first in (0, 4)
  ]
  np.testing.assert_array_equal(tf.concat(halves, 0), whole)


def test_gradient_of_dropout_is_its_mask():
  activations = tf.constant(normal(1000))
  with tf.GradientTape() as tape:
    tape.watch(activations)
    dropped = layers.dropout(activations, 0.5, "fc6", contracts.Training(SEED))
  expected = np.where(dropped.numpy() != 0, 2.0, 0.0)
  np.testing.assert_array_equal(tape.gradient(dropped, activations), expected)
