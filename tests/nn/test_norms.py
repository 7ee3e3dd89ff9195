"""Norms against their formulas in float64, and PyTorch."""

import numpy as np
import pytest
import tensorflow as tf

from vggtf import contracts, errors
from vggtf.nn import norms


def normal(*shape):
  return (3 + 40 * np.random.default_rng(5).standard_normal(shape)).astype(np.float32)


def training():
  return contracts.Training(seed=tf.constant([1, 2]))


@pytest.mark.parametrize(("form", "bias", "alpha"), [("alexnet", 2, 1e-4), ("caffe", 1, 2e-5)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_local_response(form, bias, alpha, jit_compile):
  maps = normal(2, 3, 3, 8)
  squares = maps.astype(np.float64) ** 2
  sums = np.stack(
    [squares[..., max(0, channel - 2) : channel + 3].sum(axis=-1) for channel in range(8)], axis=-1
  )
  expected = maps / (bias + alpha * sums) ** 0.75
  layer = tf.function(norms.LocalResponse(form).__call__, jit_compile=jit_compile)
  np.testing.assert_allclose(layer(maps), expected, rtol=1e-5)
  assert np.abs(expected / maps - bias**-0.75).max() > 0.05  # the sums do matter here


def test_local_response_of_bfloat16_maps_is_that_of_float32():
  maps = tf.cast(normal(2, 3, 3, 8), tf.bfloat16)
  layer = norms.LocalResponse("alexnet")
  normed = layer(maps)
  assert normed.dtype == tf.bfloat16
  exact = layer(tf.cast(maps, tf.float32))
  np.testing.assert_allclose(tf.cast(normed, tf.float32), exact, rtol=2**-8)


def test_unknown_form_is_refused():
  with pytest.raises(errors.UsageError, match="'alexnet', 'caffe'"):
    norms.LocalResponse("torch")


def test_batch_norm_in_training_and_evaluation():
  layer = norms.Batch("norm1_1", 4)
  layer.scale.assign([1.0, 2.0, 3.0, 4.0])
  layer.offset.assign([0.0, -1.0, 1.0, 5.0])
  mean, variance = np.zeros(4), np.ones(4)
  for step in range(3):
    maps = normal(5, 3, 2, 4) + np.float32(step)
    flat = maps.reshape(-1, 4).astype(np.float64)
    given = training()
    normed = layer(tf.constant(maps), given)
    expected = (maps - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    expected = expected * [1, 2, 3, 4] + [0, -1, 1, 5]
    np.testing.assert_allclose(normed, expected, rtol=1e-4, atol=1e-4)
    mean = 0.9 * mean + 0.1 * flat.mean(0)
    variance = 0.9 * variance + 0.1 * flat.var(0, ddof=1)
    assert [variable.name for variable, _ in given.updates] == [
      "norm1_1/moving_mean:0",
      "norm1_1/moving_variance:0",
    ]
    for variable, value in given.updates:
      variable.assign(value)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-5)
  maps = normal(1, 2, 2, 4)
  expected = (maps - mean) / np.sqrt(variance + 1e-5) * [1, 2, 3, 4] + [0, -1, 1, 5]
  np.testing.assert_allclose(layer(tf.constant(maps), None), expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_is_that_of_torch_gradients_included():
  torch = pytest.importorskip("torch")
  maps, weights = normal(4, 3, 3, 6), normal(4, 3, 3, 6)
  ours = tf.constant(maps)
  layer = norms.Batch("norm1_1", 6)
  with tf.GradientTape() as tape:
    tape.watch(ours)
    loss = tf.reduce_sum(layer(ours, training()) * weights)
  theirs = torch.tensor(maps.transpose(0, 3, 1, 2), requires_grad=True)
  normed = torch.nn.BatchNorm2d(6)(theirs)
  (normed * torch.tensor(weights.transpose(0, 3, 1, 2))).sum().backward()
  expected = theirs.grad.numpy().transpose(0, 2, 3, 1)
  np.testing.assert_allclose(tape.gradient(loss, ours), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (4, 4), (48, 16)])
def test_group_norm_is_that_of_torch(channels, groups):
  torch = pytest.importorskip("torch")
  layer, theirs = norms.Group("norm1_1", channels), torch.nn.GroupNorm(groups, channels)
  scale, offset = normal(channels), normal(channels)
  layer.scale.assign(scale)
  layer.offset.assign(offset)
  maps = normal(2, 5, 3, channels)
  with torch.no_grad():
    theirs.weight.copy_(torch.tensor(scale))
    theirs.bias.copy_(torch.tensor(offset))
    expected = theirs(torch.tensor(maps.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
  np.testing.assert_allclose(layer(tf.constant(maps)), expected, rtol=1e-4, atol=1e-3)


def test_norms_of_bfloat16_maps_count_in_float32():
  maps = tf.cast(normal(8, 16, 16, 32) + 1000, tf.bfloat16)  # its square overflows 8 bits of digits
  for layer in (norms.Batch("norm1_1", 32), norms.Group("norm1_2", 32)):
    normed = layer(maps, training())
    assert normed.dtype == tf.bfloat16
    values = tf.cast(normed, tf.float32).numpy()
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
