"""Score maps: the paper's dense evaluation (section 3.2) against PyTorch."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models import torch_vgg
from tests.peers import needs_torch, torch
from vggtf.models import vgg
from vggtf.nn import initializers

MEAN = (123.68, 116.779, 103.939)


def build(**options):
  options = {"classes": 10, "width": 1 / 16, "initializer": initializers.He(), **options}
  return vgg.VGG(mean_rgb=MEAN, **options)


def images(height, width):
  shape = (1, height, width, 3)
  return tf.constant(np.random.default_rng(3).integers(0, 256, shape), tf.uint8)


@pytest.mark.parametrize("input_size", [32, 64, 224])
def test_map_of_the_native_size_is_the_logits(input_size):
  model = build(input_size=input_size)
  batch = images(input_size, input_size)
  scores = model.score_map(batch)
  assert scores.shape == (1, 1, 1, 10)
  np.testing.assert_array_equal(scores[:, 0, 0], model(batch).logits)
  unknown = tf.function(
    model.score_map, input_signature=[tf.TensorSpec([None] * 3 + [3], tf.uint8)]
  )
  np.testing.assert_allclose(unknown(batch), scores, rtol=1e-4, atol=1e-4)  # as a convolution


@needs_torch
@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("shape", [(256, 320), (250, 331)])
def test_map_of_a_larger_image_is_that_of_a_convolutional_torch_net(shape, rounding):
  model = build(pool_rounding=rounding, width=1 / 8)
  features, classifier = torch_vgg.build("D", 10, width=1 / 8, ceil_mode=rounding == "ceil")
  torch_vgg.copy_weights(model, features, classifier)
  batch = images(*shape)
  with torch.no_grad():
    maps = features(torch_vgg.prepare(batch, MEAN))
    expected = torch_vgg.convolve_classifier(classifier, 7)(maps).numpy().transpose(0, 2, 3, 1)
  scores = model.score_map(batch)
  assert scores.shape == expected.shape
  assert np.std(expected) > 0.1
  np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
  ("height", "width", "rounding", "sides"),
  [  # a photo of 500x375 rescaled to a smallest side of 256, 384 and 512
    (256, 341, "ceil", (2, 5)),
    (256, 341, "floor", (2, 4)),
    (384, 512, "ceil", (6, 10)),
    (384, 512, "floor", (6, 10)),
    (512, 683, "ceil", (10, 16)),
    (512, 683, "floor", (10, 15)),
  ],
)
def test_rounding_decides_the_size_of_the_map(height, width, rounding, sides):
  scores = build(pool_rounding=rounding).score_map(images(height, width))
  assert scores.shape == (1, *sides, 10)
