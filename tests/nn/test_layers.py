"""Layers against NumPy in float64, SciPy and PyTorch."""

import functools
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


@pytest.mark.parametrize(
  ("side", "padding", "stride", "groups"),
  [(11, "VALID", 4, 1), (7, 3, 2, 1), (7, 1, 2, 1), (5, "SAME", 1, 2), (3, 1, 2, 3)],
)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_strides_paddings_and_groups_are_those_of_torch(side, padding, stride, groups, jit_compile):
  torch = pytest.importorskip("torch")
  layer = layers.Convolution(
    "conv1", side, 6, 12, initializers.He(), 0, padding, stride, groups, bias=0.5
  )
  edge = {"VALID": 0, "SAME": side // 2}.get(padding, padding)
  theirs = torch.nn.Conv2d(6, 12, side, stride, edge, groups=groups)
  with torch.no_grad():
    theirs.weight.copy_(torch.tensor(layer.weights.numpy().transpose(3, 2, 0, 1)))
    theirs.bias.fill_(0.5)
  maps = normal(2, 24, 19, 6)

  @tf.function(jit_compile=jit_compile)
  def differentiate(maps):
    with tf.GradientTape() as tape:
      tape.watch(maps)
      made = layer(maps)
      loss = tf.reduce_sum(made**2)
    return made, tape.gradient(loss, [maps, layer.weights])

  made, (of_maps, of_weights) = differentiate(tf.constant(maps))
  given = torch.tensor(maps.transpose(0, 3, 1, 2), requires_grad=True)
  expected = theirs(given)
  (expected**2).sum().backward()
  for ours, other in ((made, expected.detach()), (of_maps, given.grad)):
    np.testing.assert_allclose(ours, other.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-3)
  of_theirs = theirs.weight.grad.numpy().transpose(2, 3, 1, 0)
  np.testing.assert_allclose(of_weights, of_theirs, rtol=1e-4, atol=1e-4 * np.abs(of_theirs).max())
  assert made.shape[1] == layers.convolved_side(24, side, stride, padding)


def test_biases_are_floats_where_a_whole_number_is_given():
  layer = layers.Convolution("conv1", 1, 2, 3, initializers.He(), seed=0, bias=1)
  assert layer.biases.dtype == tf.float32
  np.testing.assert_array_equal(layer.biases, [1, 1, 1])


def test_name_with_a_slash_names_the_variables():
  layer = layers.Convolution("inception_3a/1x1", 1, 2, 3, initializers.He(), seed=0)
  assert layer.weights.name == "inception_3a/1x1/weights:0"
  assert layer.biases.name == "inception_3a/1x1/biases:0"


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize(
  ("shape", "window"), [((6, 4), 2), ((7, 5), 2), ((6, 9), 3), ((7, 8), 3), ((5, 3), 3)]
)
def test_max_pool_is_that_of_torch(shape, window, rounding):
  torch = pytest.importorskip("torch")
  maps = normal(2, *shape, 3) - 5  # negative: padding with zeros would show
  pool = torch.nn.MaxPool2d(window, 2, ceil_mode=rounding == "ceil")
  expected = pool(torch.tensor(maps.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
  pooled = functools.partial(layers.max_pool, rounding=rounding, window=window)
  np.testing.assert_array_equal(pooled(maps), expected)
  unknown = tf.function(pooled, input_signature=[tf.TensorSpec([None, None, None, 3])])
  np.testing.assert_array_equal(unknown(maps), expected)
  sides = [layers.pooled_side(side, rounding, window) for side in shape]
  assert expected.shape == (2, *sides, 3)


def test_nothing_is_left_of_a_map_smaller_than_the_window():
  assert layers.pooled_side(1, "floor") == 0
  assert layers.pooled_side(1, "ceil") == 1
  assert layers.pooled_side(2, "floor", window=3) == 0
  assert layers.pooled_side(2, "ceil", window=3) == 1


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
