"""Convolution, max-pooling and dropout (paper, sections 2.1 and 3.1).

Maps are [N, H, W, C]. A layer computes in the type of the map it is given (vggtf/precision.py).
"""

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.nn import hashing, initializers

# Caffe rounds the side of a pooled map up: its last window may reach over the border.
POOL_PADDING = {"floor": "VALID", "ceil": "SAME"}


class Convolution(tf.Module):
  """A convolution of stride 1 with biases.

  weights: float32 [side, side, inputs, outputs]. biases: float32 [outputs], 0 at first.
  """

  def __init__(
    self,
    name: str,
    side: int,
    inputs: int,
    outputs: int,
    initializer: initializers.Initializer,
    seed: int,
    padding: str = "SAME",
  ):
    """Creates the variables `<name>/weights` and `<name>/biases`.

    Args:
      name: the layer's name, also the key of its first weights.
      side: of the square kernel, in pixels.
      inputs: channels.
      outputs: channels.
      initializer: of the weights.
      seed: the run's seed.
      padding: "SAME" pads with zeros so that the map keeps its size, which is 1 for a 3x3 kernel
        and 0 for a 1x1; "VALID" does not pad.
    """
    super().__init__(name)
    self._padding = padding
    with self.name_scope:
      first = initializer((side, side, inputs, outputs), initializers.key(seed, name))
      self.weights = tf.Variable(first, name="weights")
      self.biases = tf.Variable(tf.zeros(outputs), name="biases")

  def __call__(self, maps: tf.Tensor) -> tf.Tensor:
    """Returns [N, H', W', outputs] for [N, H, W, inputs]."""
    weights = tf.cast(self.weights, maps.dtype)
    product = tf.nn.conv2d(maps, weights, strides=1, padding=self._padding)
    return tf.nn.bias_add(product, tf.cast(self.biases, maps.dtype))


def max_pool(maps: tf.Tensor, rounding: str) -> tf.Tensor:
  """Returns the maxima of 2x2 windows, 2 apart (paper, section 2.1).

  Args:
    maps: [N, H, W, C].
    rounding: what happens to an odd side: "floor" leaves its last line out, "ceil" (Caffe) pools
      it by itself. Even sides do not care.

  Raises:
    UsageError: `rounding` is neither.
  """
  padding = errors.choose("pool_rounding", rounding, POOL_PADDING)
  return tf.nn.max_pool2d(maps, ksize=2, strides=2, padding=padding)


def pooled_side(side: int, rounding: str) -> int:
  """Returns the side of the map that `max_pool` makes of one of this side."""
  errors.choose("pool_rounding", rounding, POOL_PADDING)
  return side // 2 if rounding == "floor" else -(-side // 2)


def dropout(
  activations: tf.Tensor, rate: float, name: str, training: contracts.Training
) -> tf.Tensor:
  """Sets each element to 0 with probability `rate` and divides the others by 1 - rate.

  Dividing here (Srivastava et al., 2014, section 10) leaves evaluation alone; the expectation is
  that of the paper's dropout (section 3.1). The mask is a function of seed, name, example
  (its place in the global batch) and unit, on any number of replicas, with XLA and without.

  Args:
    activations: [N, ...], of any floating type.
    rate: in [0, 1).
    name: of the layer; each layer has its own masks.
    training: its seed is the key of this step's masks.

  Returns:
    A tensor like `activations`.
  """
  count = tf.size(activations)
  first = training.first_example * (count // tf.shape(activations)[0])
  draws = tf.reshape(hashing.uniform(first, count, name, training.seed), tf.shape(activations))
  return activations * tf.cast(draws >= rate, activations.dtype) / (1 - rate)
