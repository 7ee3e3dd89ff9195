"""The layers of any net, found in the graph that its call traces, not in the net's own words.

So a net from outside needs nothing for it. A layer is what one variable scope multiplies with
(`conv1_1/weights`, `conv1_1/biases`), a norm's scope, a pooling or a local response norm.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import tensorflow as tf

from vggtf import contracts

_PRODUCTS = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2")
_UNTRAINED = {"MaxPool": "pool", "AvgPool": "pool", "Mean": "pool", "LRN": "lrn"}
_SUMS = ("BiasAdd", "AddV2", "Add")
_ENDING = ("Reshape", "Mean", "Max", "Sum", "Squeeze")  # of a map, where they take its sides away


@dataclasses.dataclass(eq=False)
class Layer:
  """One row of a net's table, all sizes for one image.

  Attributes:
    name: the scope of its variables, or the kind of pooling and a number.
    kernel: sides and stride, such as "3x3" or "11x11/4"; "all" for a matrix product, "" for norms.
    shape: of its output, without the batch.
    field: side in pixels of the square of the image that an output sees.
    parameters: trained numbers.
    multiply_adds: of its products; biases, norms and poolings count none.
    activation_bytes: of its output.
    is_convolution: whether it has a kernel that slides.
    output: the graph's tensor, before the non-linearity.
    variables: those that are trained, as the first replica has them.
  """

  name: str
  kernel: str
  shape: tuple[int, ...]
  field: int
  parameters: int
  multiply_adds: int
  activation_bytes: int
  is_convolution: bool
  output: tf.Tensor
  variables: list[tf.Variable] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Trace:
  """What `trace` found.

  Attributes:
    layers: in the order of the computation.
    unused: trainable variables that no layer reads, such as those of heads for training alone.
    outputs: function of uint8 images [batch, side, side, 3] that returns each layer's output.
  """

  layers: tuple[Layer, ...]
  unused: tuple[tf.Variable, ...]
  outputs: tf.types.experimental.Callable


def trace(net: contracts.Model, batch: int = 1) -> Trace:
  """Finds the layers of a net as it evaluates `batch` images of its native size."""
  images = tf.TensorSpec((batch, net.input_size, net.input_size, 3), tf.uint8)
  before = tf.config.functions_run_eagerly()
  tf.config.run_functions_eagerly(True)  # so that a net's own tf.functions are spread out, too
  try:
    function = tf.compat.v1.wrap_function(lambda images: _given(net(images)), [images])
  finally:
    tf.config.run_functions_eagerly(before)
  trained = [_local(variable) for variable in net.trainable_variables]
  walk = _Walk(trained, function.graph, batch)
  for operation in function.graph.get_operations():
    walk.visit(operation)
  layers = tuple(walk.layers)
  unused = tuple(variable for variable in trained if variable.ref() not in walk.counted)
  # The first input is the images; the others are variables, which stay captured.
  outputs = function.prune(function.inputs[:1], [layer.output for layer in layers])
  return Trace(layers, unused, outputs)


def _given(outputs: contracts.Outputs) -> list[tf.Tensor]:
  """Returns the parts that a net fills in."""
  return [tensor for tensor in tf.nest.flatten(outputs) if tensor is not None]


def _local(variable: tf.Variable) -> tf.Variable:
  """Returns what the first replica has of a variable that several mirror."""
  return variable.values[0] if isinstance(variable, tf.distribute.DistributedValues) else variable


class _Walk:
  """Goes through a graph's operations in the order of their creation, which is topological."""

  def __init__(self, variables: Sequence[tf.Variable], graph: tf.Graph, batch: int):
    handles = {id(variable.handle): variable for variable in variables}
    # The variables that a tensor beside the images' way is made of, by its name; first those that
    # stand for variables inside the graph.
    self._made_of = {
      inside.name: (handles[id(outside)],)
      for outside, inside in graph.captures
      if id(outside) in handles
    }
    self._batch = batch
    self._fields = {}  # tensor name -> (side of the field, distance of neighbours), in pixels
    self._by_product = {}  # name of a product's tensor -> its layer
    self._by_name = {}
    self.layers = []
    self.counted = set()

  def visit(self, operation: tf.Operation) -> None:
    """Takes notice of one operation."""
    if operation.type == "Placeholder":
      if operation.outputs[0].dtype == tf.uint8:
        self._fields[operation.outputs[0].name] = (1, 1)
      return
    variables = [(t, v) for t in operation.inputs for v in self._made_of.get(t.name, ())]
    kernel, stride = self._window(operation, variables)
    self._spread(operation, kernel, stride)
    if not operation.outputs or operation.outputs[0].name not in self._fields:
      for output in operation.outputs:
        self._made_of[output.name] = tuple(variable for _, variable in variables)
      return
    output = operation.outputs[0]
    if operation.type in _PRODUCTS and variables:
      tensor, variable = variables[0]
      layer = self._layer(_scope(variable), output, _text(kernel, stride))
      layer.is_convolution = operation.type != "MatMul" and max(kernel) > 0
      layer.multiply_adds += _multiply_adds(operation, tensor, self._batch)
      self._by_product[output.name] = layer
      self._count(layer, variable)
    elif kind := _UNTRAINED.get(operation.type):
      # A mean is a pooling where it ends a map.
      if operation.type != "Mean" or _gathered(operation.inputs[0], output):
        number = sum(layer.name.rstrip("0123456789") == kind for layer in self.layers) + 1
        self._layer(f"{kind}{number}", output, _text(kernel, stride) if kind == "pool" else "")
    elif operation.type in _SUMS and operation.inputs[0].name in self._by_product:
      layer = self._by_product[operation.inputs[0].name]
      layer.output = output
      for _, variable in variables:
        self._count(layer, variable)
    else:
      for _, variable in variables:
        layer = self._by_name.get(_scope(variable)) or self._layer(_scope(variable), output, "")
        layer.output = output
        self._count(layer, variable)

  def _layer(self, name: str, output: tf.Tensor, kernel: str) -> Layer:
    """Returns a new layer; or that of the name, its output widened, where groups share weights."""
    shape = tuple(output.shape[1:])
    size = math.prod(shape) * output.dtype.size
    if layer := self._by_name.get(name):
      layer.shape = (*shape[:-1], layer.shape[-1] + shape[-1])
      layer.activation_bytes += size
    else:
      field, _ = self._fields[output.name]
      layer = Layer(name, kernel, shape, field, 0, 0, size, False, output)
      self._by_name[name] = layer
      self.layers.append(layer)
    return layer

  def _count(self, layer: Layer, variable: tf.Variable) -> None:
    if variable.ref() not in self.counted:
      self.counted.add(variable.ref())
      layer.variables.append(variable)
      layer.parameters += math.prod(variable.shape)

  def _window(self, operation: tf.Operation, variables) -> tuple[tuple[int, int], int]:
    """Returns the sides of the window that slides over the map (0: none) and its stride."""
    if operation.type in ("Conv2D", "DepthwiseConv2dNative"):
      filters = operation.inputs[1].shape
      rows, columns = operation.get_attr("dilations")[1:3]
      sides = ((filters[0] - 1) * rows + 1, (filters[1] - 1) * columns + 1)
      return sides, operation.get_attr("strides")[1]
    if operation.type in ("MaxPool", "AvgPool"):
      return tuple(operation.get_attr("ksize")[1:3]), operation.get_attr("strides")[1]
    if operation.type == "MatMul" and variables and variables[0][1].shape.rank == 4:
      return tuple(variables[0][1].shape[:2]), 1  # a fully-connected layer kept as a kernel
    return (0, 0), 1

  def _spread(self, operation: tf.Operation, kernel: tuple[int, int], stride: int) -> None:
    """Gives the operation's outputs their receptive field."""
    sources = [tensor for tensor in operation.inputs if tensor.name in self._fields]
    if not sources:
      return
    if not operation.type.startswith("Concat"):
      # Statistics of a map, which a norm multiplies it with, do not widen what a place shows.
      largest = max(tensor.shape.num_elements() or 0 for tensor in sources)
      sources = [t for t in sources if (t.shape.num_elements() or 0) == largest]
    field, distance = (
      max(sizes) for sizes in zip(*(self._fields[t.name] for t in sources), strict=True)
    )
    if operation.type != "MatMul":
      field += max(max(kernel) - 1, 0) * distance
      distance *= stride
    for output in operation.outputs:
      self._fields[output.name] = (field + _gathered(sources[0], output) * distance, distance)


def _gathered(source: tf.Tensor, output: tf.Tensor) -> int:
  """Returns over how many steps of a map an operation other than a window reaches.

  A reshaping or a mean that ends a map leaves each number seeing all of it.
  """
  if source.shape.rank != 4 or output.op.type not in _ENDING:
    return 0
  return 0 if output.shape[1:3] == source.shape[1:3] else max(source.shape[1:3]) - 1


def _multiply_adds(operation: tf.Operation, weights: tf.Tensor, batch: int) -> int:
  """Returns those of one image: each output takes one for each weight that leads to it."""
  outputs = operation.outputs[0].shape.num_elements() // batch
  if operation.type == "Conv2D":
    return outputs * math.prod(weights.shape[:3])
  if operation.type == "DepthwiseConv2dNative":
    return outputs * math.prod(weights.shape[:2])
  return outputs * math.prod(weights.shape) // operation.outputs[0].shape[-1]


def _scope(variable: tf.Variable) -> str:
  """Returns the layer's name: the variable's without its last part, or all of a single part."""
  name = variable.name.partition(":")[0]
  return name.rpartition("/")[0] or name


def _text(kernel: tuple[int, int], stride: int) -> str:
  if not max(kernel):
    return "all"
  return f"{kernel[0]}x{kernel[1]}" + (f"/{stride}" if stride > 1 else "")
