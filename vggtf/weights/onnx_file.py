"""ONNX, out only: a graph that anyone's runtime can execute, preprocessing included.

Input `images`: float32 [N, H, W, 3], R, G and B in levels of 0..255, of the native size or larger.
Outputs: `score_map`, float32 [N, h, w, classes], the paper's dense application (section 3.2),
and `logits`, float32 [N, classes], its mean; at the native size that is the one place there is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vggtf import errors
from vggtf.weights import canonical, extras, norms

OPSET, _IR_VERSION = 17, 8
_MOST_BYTES = 2**31 - 1  # of a protocol buffer


def write(
  path: Path, tensors: Mapping[str, np.ndarray], net: canonical.Net, facts: canonical.Facts
) -> None:
  """Writes the graph.

  Raises:
    UsageError: the net has no fully-connected layers, or is too large for one file.
    EnvironmentFault: onnx is not installed.
  """
  onnx = extras.load("onnx", "onnx")
  if not net.top:
    raise errors.UsageError("ONNX is for nets that classify; this one has no fc6, fc7 and fc8")
  if sum(tensor.nbytes for tensor in tensors.values()) > _MOST_BYTES:
    raise errors.UsageError("the net is too large for one ONNX file, which ends at 2 GiB")
  graph = _Graph(onnx)
  maps = graph.add("Sub", "images", graph.constant("mean_rgb", np.float32(facts.mean_rgb)))
  maps = graph.add("Transpose", maps, perm=[0, 3, 1, 2])
  for number, block in enumerate(net.blocks, 1):
    for name in block:
      side = len(tensors[f"{name}/weights"])
      maps = graph.convolve(maps, name, tensors, side // 2)
      if net.norm:
        maps = graph.normalize(maps, canonical.norm_name(name), tensors, net.norm)
      maps = graph.add("Relu", maps)
    if number == 1 and facts.lrn_form:
      form = norms.LRN[facts.lrn_form]  # the operator divides alpha by the size
      alpha = form.alpha * norms.LRN_SIZE
      maps = graph.add(
        "LRN", maps, size=norms.LRN_SIZE, alpha=alpha, beta=form.beta, bias=form.bias
      )
    ceil = int(facts.pool_rounding == "ceil")
    maps = graph.add("MaxPool", maps, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=ceil)
  for name in net.top:
    maps = graph.convolve(maps, name, tensors, 0)
    maps = graph.add("Relu", maps) if name != "fc8" else maps
  graph.add("Transpose", maps, output="score_map", perm=[0, 2, 3, 1])
  graph.add("ReduceMean", "score_map", output="logits", axes=[1, 2], keepdims=0)

  classes = tensors["fc8/biases"].size
  value, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
  model = onnx.helper.make_model(
    onnx.helper.make_graph(
      graph.nodes,
      f"vgg_{net.config}",
      [value("images", floats, ["N", "H", "W", 3])],
      [
        value("logits", floats, ["N", classes]),
        value("score_map", floats, ["N", "h", "w", classes]),
      ],
      graph.constants,
    ),
    opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    ir_version=_IR_VERSION,
    producer_name="vggtf",
  )
  labels = {"labels": json.dumps(facts.labels)} if facts.labels else {}
  onnx.helper.set_model_props(
    model, {"input": "RGB, 0..255", "input_size": str(facts.input_size), **labels}
  )
  path.write_bytes(model.SerializeToString())


class _Graph:
  """Nodes and constants as they come."""

  def __init__(self, onnx):
    self._onnx = onnx
    self.nodes, self.constants = [], []

  def constant(self, name: str, value: np.ndarray) -> str:
    """Returns the name."""
    self.constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name

  def add(self, kind: str, *inputs: str, output: str | None = None, **attributes) -> str:
    """Returns the name of the node's output."""
    output = output or f"{kind}_{len(self.nodes)}"
    self.nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
    return output

  def convolve(self, maps: str, name: str, tensors: Mapping[str, np.ndarray], pad: int) -> str:
    """Returns the output of a convolution with its biases."""
    kernel = canonical.to_rows(tensors[f"{name}/weights"], flat=False)
    weights = self.constant(f"{name}/weights", kernel)
    biases = self.constant(f"{name}/biases", tensors[f"{name}/biases"])
    return self.add("Conv", maps, weights, biases, pads=[pad] * 4)

  def normalize(self, maps: str, name: str, tensors: Mapping[str, np.ndarray], norm: str) -> str:
    """Returns the output of a batch norm, or of a group norm, which opset 17 has in parts only."""
    if norm == "batch":
      parts = [self.constant(f"{name}/{p}", tensors[f"{name}/{p}"]) for p in canonical.NORMS[norm]]
      return self.add("BatchNormalization", maps, *parts, epsilon=norms.EPSILON)
    channels = tensors[f"{name}/scale"].size
    groups = norms.groups(channels)
    shape = self.constant(f"{name}/groups", np.int64([0, groups, -1]))
    ones = self.constant(f"{name}/ones", np.ones(groups, np.float32))
    zeros = self.constant(f"{name}/zeros", np.zeros(groups, np.float32))
    grouped = self.add("Reshape", maps, shape)
    grouped = self.add("InstanceNormalization", grouped, ones, zeros, epsilon=norms.EPSILON)
    restored = self.add("Reshape", grouped, self.add("Shape", maps))
    for kind, part in (("Mul", "scale"), ("Add", "offset")):
      row = tensors[f"{name}/{part}"].reshape(-1, 1, 1)
      restored = self.add(kind, restored, self.constant(f"{name}/{part}", row))
    return restored
