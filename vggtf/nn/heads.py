"""Fully-connected layers that are convolutions too (paper, section 3.2).

The weights exist once, as a kernel. On a map of the kernel's own size a VALID convolution is a
matrix product, and that is how it runs: reshaping is free and the product is faster. On larger maps
the same kernel slides, which is the paper's dense evaluation.
"""

import tensorflow as tf

from vggtf.nn import layers


class FullyConnected(layers.Convolution):
  """A layer that sees the whole of a map of its native size.

  weights: float32 [side, side, inputs, outputs]; fc6 of a VGG has side 7, fc7 and fc8 have 1.
  """

  def __init__(self, name, side, inputs, outputs, initializer, seed):
    super().__init__(name, side, inputs, outputs, initializer, seed, padding="VALID")

  def __call__(self, maps: tf.Tensor) -> tf.Tensor:
    """Returns [N, H - side + 1, W - side + 1, outputs] for [N, H, W, inputs].

    The matrix product serves only maps whose size is known when the function is traced.
    """
    side, _, inputs, outputs = self.weights.shape
    if maps.shape[1:3] != (side, side):
      return super().__call__(maps)
    weights = tf.reshape(tf.cast(self.weights, maps.dtype), (side * side * inputs, outputs))
    product = tf.reshape(maps, (-1, side * side * inputs)) @ weights
    product = tf.nn.bias_add(product, tf.cast(self.biases, maps.dtype))
    return tf.reshape(product, (-1, 1, 1, outputs))
