"""Small nets whose posteriors tell pictures apart, and the softmax that they are judged by."""

import numpy as np
import tensorflow as tf

from vggtf.models import vgg
from vggtf.nn import initializers

MEAN_RGB = (120.0, 125.0, 130.0)
SIDE, CLASSES = 32, 6


def build(config="A", seed=0, side=SIDE, **options) -> vgg.VGG:
  options = {"width": 1 / 16, "initializer": initializers.He(), **options}
  net = vgg.VGG(CLASSES, MEAN_RGB, config, side, seed=seed, **options)
  # Pixels of +-128 make logits of hundreds: smaller ones, so that no posterior is 0 or 1.
  net.layers["fc8"].weights.assign(net.layers["fc8"].weights * 0.02)
  net.layers["fc8"].biases.assign(tf.linspace(-1.0, 1.0, CLASSES))
  return net


def softmax(scores) -> np.ndarray:
  """Returns float64 [..., classes]."""
  powers = np.exp(np.float64(scores) - np.max(scores, axis=-1, keepdims=True))
  return powers / powers.sum(axis=-1, keepdims=True)
