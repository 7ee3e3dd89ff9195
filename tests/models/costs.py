"""What a net costs, read off its graph."""

import collections

import numpy as np
import tensorflow as tf


def parameters(make) -> int:
  """Returns the number of trained parameters; nothing is drawn or allocated."""
  with tf.Graph().as_default():
    return sum(variable.shape.num_elements() for variable in make().trainable_variables)


def multiply_adds(make, training=None) -> dict[str, int]:
  """Returns those of convolutions and matrix products for one image, by layer."""
  costs = collections.Counter()
  with tf.Graph().as_default() as graph:
    net = make()
    built = len(graph.get_operations())
    net(tf.zeros([1, net.input_size, net.input_size, 3]), training and training())
    for op in graph.get_operations()[built:]:
      if op.type == "Conv2D":
        side, side, inputs, _ = op.inputs[1].shape
        costs[_layer(op.inputs[1].op)] += int(np.prod(op.outputs[0].shape)) * side * side * inputs
      elif op.type == "MatMul":
        costs[_layer(op.inputs[1].op)] += int(np.prod(op.inputs[1].shape))
  return dict(costs)


def _layer(op) -> str:
  """Returns the layer whose variable an operation's result comes from."""
  while op.type != "VarHandleOp":
    op = next(one.op for one in op.inputs if one.op.type != "Const")
  return op.name.removesuffix("/weights")
