"""What ends a net, and fully-connected layers that are convolutions too (paper, section 3.2).

The weights exist once, as a kernel. On a map of the kernel's own size a VALID convolution is a
matrix product, and that is how it runs: reshaping is free and the product is faster. On larger maps
the same kernel slides, which is the paper's dense evaluation: the windows that it sees are gathered
and multiplied, as no convolution is fast with a kernel of 7x7x512x4096 and few places.
"""

import dataclasses

import tensorflow as tf

from vggtf.nn import layers


@dataclasses.dataclass(frozen=True)
class Head:
  """The last layer of a net.

  Attributes:
    field: of contracts.Outputs, what it computes.
    layer: its name; None where the net ends before it. Boxes have another name than classes, so
      that weights which move by name never come from the other kind.
    numbers: that it computes, for each class or once.
    of_each_class: which of the two.
  """

  field: str
  layer: str | None = None
  numbers: int = 1
  of_each_class: bool = True

  def outputs(self, classes: int) -> int:
    """Returns the layer's channels."""
    return self.numbers * classes if self.of_each_class else self.numbers


HEADS = {
  "classifier": Head("logits", "fc8"),
  "box": Head("boxes", "fc8_box", numbers=4, of_each_class=False),  # SCR, appendix A.1
  "class_boxes": Head("boxes", "fc8_box", numbers=4),  # PCR, appendix A.1
  "features": Head("features"),  # appendix B
}


class FullyConnected(layers.Convolution):
  """A layer that sees the whole of a map of its native size.

  weights: float32 [side, side, inputs, outputs]; fc6 of a VGG has side 7, fc7 and fc8 have 1.
  """

  def __init__(self, name, side, inputs, outputs, initializer, seed, bias=0.0):
    def draw(shape, key):
      # As the matrix that it is in training: an input goes into each output once, not at each
      # place of the kernel, which Glorot's fan out counts.
      return tf.reshape(initializer((side * side * inputs, outputs), key), shape)

    super().__init__(name, side, inputs, outputs, draw, seed, padding="VALID", bias=bias)

  def __call__(self, maps: tf.Tensor) -> tf.Tensor:
    """Returns [N, H - side + 1, W - side + 1, outputs] for [N, H, W, inputs]."""
    side, _, inputs, outputs = self.weights.shape
    rows, columns = (
      (known or found) - side + 1
      for known, found in zip(maps.shape[1:3], tf.unstack(tf.shape(maps)[1:3]), strict=True)
    )
    if maps.shape[1:3] != (side, side):
      shifts = [(y, x) for y in range(side) for x in range(side)]
      maps = tf.concat([maps[:, y : y + rows, x : x + columns] for y, x in shifts], axis=-1)
    weights = tf.reshape(tf.cast(self.weights, maps.dtype), (side * side * inputs, outputs))
    product = tf.reshape(maps, (-1, side * side * inputs)) @ weights
    product = tf.nn.bias_add(product, tf.cast(self.biases, maps.dtype))
    return tf.reshape(product, (-1, rows, columns, outputs))
