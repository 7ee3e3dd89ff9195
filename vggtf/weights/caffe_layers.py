"""The part of caffe.proto that VGG nets need: numbers of fields, by what they are called."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from vggtf.weights import wire

NAME, LAYERS_V1, LAYERS = 1, 2, 100  # of NetParameter
_BLOB_DATA, _BLOB_DOUBLES, _BLOB_SHAPE, _SHAPE_DIM = 5, 8, 7, 1
_BLOB_OLD_SHAPE = (1, 2, 3, 4)  # num, channels, height, width
_MOST_LAYERS, _MOST_BLOBS, _MOST_AXES = 1000, 8, 8


@dataclasses.dataclass(frozen=True)
class _Form:
  """Where a message of this version keeps what."""

  name: int
  kind: int
  blobs: int
  params: Mapping[int, str]


_V2 = _Form(
  name=1,
  kind=2,
  blobs=7,
  params={
    106: "convolution_param",
    117: "inner_product_param",
    118: "lrn_param",
    121: "pooling_param",
    123: "relu_param",
    139: "batch_norm_param",
  },
)
_V1 = _Form(
  name=4,
  kind=5,
  blobs=6,
  params={
    10: "convolution_param",
    17: "inner_product_param",
    18: "lrn_param",
    19: "pooling_param",
    30: "relu_param",
  },
)
_V1_KINDS = {
  1: "Accuracy",
  4: "Convolution",
  5: "Data",
  6: "Dropout",
  12: "ImageData",
  14: "InnerProduct",
  15: "LRN",
  17: "Pooling",
  18: "ReLU",
  20: "Softmax",
  21: "SoftmaxWithLoss",
  22: "Split",
}
_FIELDS = {
  "convolution_param": {
    "num_output": 1, "pad": 3, "kernel_size": 4, "group": 5, "stride": 6, "pad_h": 9, "pad_w": 10,
    "kernel_h": 11, "kernel_w": 12, "stride_h": 13, "stride_w": 14, "dilation": 18,
  },
  "inner_product_param": {"num_output": 1, "axis": 5, "transpose": 6},
  "lrn_param": {"local_size": 1, "alpha": 2, "beta": 3, "norm_region": 4, "k": 5},
  "pooling_param": {
    "pool": 1, "kernel_size": 2, "stride": 3, "pad": 4, "kernel_h": 5, "kernel_w": 6, "stride_h": 7,
    "stride_w": 8, "pad_h": 9, "pad_w": 10, "global_pooling": 12, "round_mode": 13,
  },
  "relu_param": {"negative_slope": 1},
  "batch_norm_param": {"use_global_stats": 1, "eps": 3},
  "scale_param": {"bias_term": 4},
}  # fmt: skip
_FLOATS = {"alpha", "beta", "k", "eps", "negative_slope"}
_PARAM_NUMBERS = {name: number for number, name in _V2.params.items()} | {"scale_param": 142}
BOTTOM, TOP = 3, 4


@dataclasses.dataclass(frozen=True)
class Layer:
  """A layer as both versions describe it.

  kind: of version 2, such as "Convolution"; "V1 type 39" where only version 1 has it.
  options: of its parameter message; one that is repeated, for each axis, is the same each time.
  blobs: its tensors, float32.
  """

  name: str
  kind: str
  options: dict[str, int | float] = dataclasses.field(default_factory=dict)
  blobs: tuple[np.ndarray, ...] = ()


def read(data: memoryview) -> Iterator[Layer]:
  """Yields the layers of a NetParameter.

  Raises:
    ValueError: it is damaged, or beyond what a net can sensibly have.
  """
  count = 0
  for number, value in wire.fields(data):
    if number not in (LAYERS, LAYERS_V1):
      continue
    count += 1
    if count > _MOST_LAYERS or isinstance(value, int):
      raise ValueError(f"more than {_MOST_LAYERS} layers, or one that is none")
    yield _layer(value, _V2 if number == LAYERS else _V1)


def encode(layer: Layer, bottom: str, top: str) -> bytes:
  """Returns a LayerParameter of version 2, up to its blobs."""
  out = wire.block(_V2.name, layer.name.encode()) + wire.block(_V2.kind, layer.kind.encode())
  out += (wire.block(BOTTOM, bottom.encode()) if bottom else b"") + wire.block(TOP, top.encode())
  if layer.options:
    name = parameter(layer.kind)
    content = b"".join(
      wire.number(_FIELDS[name][option], value) for option, value in layer.options.items()
    )
    out += wire.block(_PARAM_NUMBERS[name], content)
  return out


def parameter(kind: str) -> str:
  """Returns the name of the message that holds the options of a kind of layer."""
  kind = kind.replace("LRN", "Lrn").replace("ReLU", "Relu")
  words = "".join(f"_{c.lower()}" if c.isupper() else c for c in kind)
  return f"{words.lstrip('_')}_param"


def blob_header(blob: np.ndarray) -> bytes:
  """Returns what comes before a blob's numbers, in a layer of version 2."""
  shape = wire.block(_BLOB_SHAPE, wire.block(_SHAPE_DIM, wire.packed(blob.shape)))
  inner = shape + wire.header(_BLOB_DATA, blob.nbytes)
  return wire.header(_V2.blobs, len(inner) + blob.nbytes) + inner


def _layer(data: memoryview, form: _Form) -> Layer:
  name, kind, blobs = "", "", []
  options: dict[str, dict[str, int | float]] = {}  # by message; Caffe looks into that of the kind
  for number, value in wire.fields(data):
    if number == form.name:
      name = _word(value)
    elif number == form.kind:
      named = not isinstance(value, int)
      kind = _word(value) if named else _V1_KINDS.get(value, f"V1 type {value}")
    elif number == form.blobs:
      if len(blobs) == _MOST_BLOBS:
        raise ValueError(f"layer {name!r} has more than {_MOST_BLOBS} blobs")
      blobs.append(_blob(value, name))
    elif number in form.params:
      message = form.params[number]
      _take_options(value, message, options.setdefault(message, {}))
  return Layer(name, kind, options.get(parameter(kind), {}), tuple(blobs))


def _word(value: int | memoryview) -> str:
  if isinstance(value, int):  # bytes() of it would be so many zeros
    raise ValueError(f"a name is the number {value}")
  return bytes(value).decode(errors="replace")


def _take_options(data: memoryview, message: str, options: dict[str, int | float]) -> None:
  names = {number: name for name, number in _FIELDS[message].items()}
  for number, value in wire.fields(data):
    name = names.get(number)
    if name in _FLOATS:
      options[name] = float(np.frombuffer(value, "<f4")[0])
    elif name:
      for one in wire.varints(value):
        if options.setdefault(name, one) != one:
          raise ValueError(f"{message} has {name} {options[name]} and {one}")


def _blob(data: memoryview, layer: str) -> np.ndarray:
  shape, old, values = None, {}, None
  for number, value in wire.fields(data):
    if number == _BLOB_SHAPE:
      shape = [n for field, one in wire.fields(value) if field == 1 for n in wire.varints(one)]
    elif number in _BLOB_OLD_SHAPE:
      old[number] = value
    elif number == _BLOB_DATA and len(value) == 4 and values is not None:
      raise ValueError(f"the numbers of layer {layer!r} are not packed")
    elif number == _BLOB_DATA:
      values = np.frombuffer(value, "<f4")
    elif number == _BLOB_DOUBLES:
      raise ValueError(f"the numbers of layer {layer!r} are float64")
  if values is None:
    raise ValueError(f"a blob of layer {layer!r} is empty")
  if shape is None:
    shape = [old.get(number, 1) for number in _BLOB_OLD_SHAPE]
  if len(shape) > _MOST_AXES or math.prod(shape) != values.size:
    raise ValueError(f"a blob of layer {layer!r} has {values.size} numbers, its shape says {shape}")
  return values.reshape(shape)
