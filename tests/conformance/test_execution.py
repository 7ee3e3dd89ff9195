import numpy as np
import pytest
import tensorflow as tf

from tests.conformance import configurations


@pytest.mark.parametrize("name", configurations.NETS)
def test_eager_function_and_xla_agree(name):
  net = configurations.net(name)
  images = configurations.pictures(net.input_size)
  eager = net(images).logits.numpy()
  assert eager.std() > 0
  for jit_compile in (False, True):
    compiled = tf.function(lambda x: net(x).logits, jit_compile=jit_compile)
    np.testing.assert_allclose(compiled(images), eager, rtol=0, atol=1e-5 * np.abs(eager).max())


@pytest.mark.parametrize("name", configurations.NETS)
def test_dense_equals_crop_at_the_native_size(name):
  net = configurations.net(name)
  images = configurations.pictures(net.input_size)
  logits = net(images).logits.numpy()
  scores = tf.function(net.score_map)
  spec = tf.TensorSpec([None, None, None, 3], tf.uint8)  # unknown size: fc6 as a convolution
  for scores in (net.score_map, tf.function(net.score_map, input_signature=[spec])):
    score_map = scores(images).numpy()
    assert score_map.shape == (2, 1, 1, configurations.CLASSES)
    np.testing.assert_allclose(score_map[:, 0, 0], logits, rtol=0, atol=1e-5 * np.abs(logits).max())
