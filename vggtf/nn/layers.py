"""Convolution, max-pooling and dropout (paper, sections 2.1 and 3.1).

The paper's nets need them as they are by default; strides and groups are for their rivals.

Maps are [N, H, W, C]. A layer computes in the type of the map it is given (vggtf/precision.py).
"""

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.nn import hashing, initializers

POOL_ROUNDINGS = {"floor": False, "ceil": True}  # whether a last window may reach over the border


class Convolution(tf.Module):
  """A convolution with biases.

  weights: float32 [side, side, inputs / groups, outputs]. biases: float32 [outputs].
  """

  def __init__(
    self,
    name: str,
    side: int,
    inputs: int,
    outputs: int,
    initializer: initializers.Initializer,
    seed: int,
    padding: str | int = "SAME",
    stride: int = 1,
    groups: int = 1,
    bias: float = 0.0,
  ):
    """Creates the variables `<name>/weights` and `<name>/biases`.

    Args:
      name: the layer's name, also the key of its first weights; it may have a slash, as Caffe's.
      side: of the square kernel, in pixels.
      inputs: channels.
      outputs: channels.
      initializer: of the weights.
      seed: the run's seed.
      padding: "SAME" pads with zeros so that the map keeps its size, which is 1 for a 3x3 kernel
        and 0 for a 1x1; "VALID" does not pad; a number pads so many pixels on every edge.
      stride: pixels from one place of the kernel to the next; with "SAME" it must be 1.
      groups: into how many parts the channels are cut; an output sees its own part of the inputs.
      bias: what all biases are at first.
    """
    super().__init__(name.replace("/", "_"))
    edges = [padding, padding]
    self._padding = padding if isinstance(padding, str) else [[0, 0], edges, edges, [0, 0]]
    self._stride, self._groups = stride, groups
    first = initializer((side, side, inputs // groups, outputs), initializers.key(seed, name))
    self.weights = tf.Variable(first, name=f"{name}/weights")
    self.biases = tf.Variable(tf.fill([outputs], float(bias)), name=f"{name}/biases")

  def __call__(self, maps: tf.Tensor) -> tf.Tensor:
    """Returns [N, H', W', outputs] for [N, H, W, inputs]."""
    weights = tf.cast(self.weights, maps.dtype)
    if self._groups == 1:
      product = self._correlate(maps, weights)
    else:  # one product a group: TensorFlow has no gradient of a grouped one on every device
      parts = zip(
        tf.split(maps, self._groups, axis=-1), tf.split(weights, self._groups, axis=-1), strict=True
      )
      product = tf.concat([self._correlate(*part) for part in parts], axis=-1)
    return tf.nn.bias_add(product, tf.cast(self.biases, maps.dtype))

  def _correlate(self, maps: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(maps, weights, strides=self._stride, padding=self._padding)


def convolved_side(side: int, kernel: int, stride: int, padding: str | int) -> int:
  """Returns the side of the map that a `Convolution` makes of one of this side."""
  if padding == "SAME":
    return side
  edge = 0 if padding == "VALID" else padding
  return (side + 2 * edge - kernel) // stride + 1


def max_pool(maps: tf.Tensor, rounding: str, window: int = 2, stride: int = 2) -> tf.Tensor:
  """Returns the maxima of square windows (2x2, 2 apart: paper, section 2.1).

  Args:
    maps: [N, H, W, C].
    rounding: what happens to lines that no window reaches: "floor" leaves them out, "ceil" (Caffe)
      pools them in a last window, which reaches over the border.
    window: its side in pixels.
    stride: pixels from one window to the next.

  Raises:
    UsageError: `rounding` is neither.
  """
  if errors.choose("pool_rounding", rounding, POOL_ROUNDINGS):
    maps = _complete(tf.convert_to_tensor(maps), window, stride)
  return tf.nn.max_pool2d(maps, ksize=window, strides=stride, padding="VALID")


def _complete(maps: tf.Tensor, window: int, stride: int) -> tf.Tensor:
  """Returns the maps with as many lines, of the least number, as the last window lacks."""
  # By hand: TensorFlow's "SAME" has other windows where they overlap and the side is odd.
  _, *found, _ = tf.unstack(tf.shape(maps))
  sides = [known or side for known, side in zip(maps.shape[1:3], found, strict=True)]
  missing = [(window - side) % stride for side in sides]
  if maps.shape[1:3].is_fully_defined() and not any(missing):
    return maps
  edges = [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]]
  return tf.pad(maps, edges, constant_values=maps.dtype.min)


def pooled_side(side: int, rounding: str, window: int = 2, stride: int = 2) -> int:
  """Returns the side of the map that `max_pool` makes of one of this side."""
  up = errors.choose("pool_rounding", rounding, POOL_ROUNDINGS)
  return (side - window + up * (stride - 1)) // stride + 1


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
