"""Nets in the first version of Caffe's layers, written here field by field."""

import numpy as np

from vggtf.weights import wire

CONVOLUTION, DROPOUT, INNER_PRODUCT, LRN, POOLING, RELU, SOFTMAX = 4, 6, 14, 15, 17, 18, 20
PARAMETERS = {CONVOLUTION: 10, INNER_PRODUCT: 17, LRN: 18, POOLING: 19, RELU: 30}
_OPTIONS = {
  CONVOLUTION: {
    "pad": 3, "kernel_size": 4, "group": 5, "stride": 6, "pad_h": 9, "pad_w": 10, "kernel_h": 11,
    "kernel_w": 12, "stride_h": 13, "stride_w": 14, "dilation": 18,
  },
  INNER_PRODUCT: {"axis": 5, "transpose": 6},
  LRN: {"local_size": 1, "alpha": 2, "beta": 3, "norm_region": 4, "k": 5},
  POOLING: {
    "pool": 1, "kernel_size": 2, "stride": 3, "pad": 4, "kernel_h": 5, "kernel_w": 6, "stride_h": 7,
    "stride_w": 8, "pad_h": 9, "pad_w": 10, "global_pooling": 12, "round_mode": 13,
  },
  RELU: {"negative_slope": 1},
}  # fmt: skip


def released(model, changes=None) -> bytes:
  """Returns a net as the authors' files have it: every layer, four axes for every blob.

  changes: by a layer's name, the layers that are in its place, or at the end.
  """
  layers = {name: [one] for name, one in _layers(model).items()} | (changes or {})
  parts = [wire.block(2, one) for some in layers.values() for one in some]
  return wire.block(1, b"VGG_ILSVRC_16_layers") + b"".join(parts)


def layer(name: str, kind: int, blobs=(), **options) -> bytes:
  """Returns a V1LayerParameter; an option with several values is repeated."""
  content = wire.block(4, name.encode()) + wire.number(5, kind)
  for blob in blobs:
    sizes = b"".join(wire.number(axis + 1, size) for axis, size in enumerate(blob.shape))
    content += wire.block(6, sizes + wire.block(5, np.float32(blob).tobytes()))
  return content + (parameter(kind, **options) if options else b"")


def parameter(kind: int, **options) -> bytes:
  """Returns the message of a kind's options."""
  content = b"".join(
    wire.number(_OPTIONS[kind][option], value)
    for option, values in options.items()
    for value in (values if isinstance(values, tuple) else (values,))
  )
  return wire.block(PARAMETERS[kind], content)


def _layers(model) -> dict[str, bytes]:
  layers = {}
  names = list(model.layers)
  for name, after in zip(names, [*names[1:], "end"], strict=True):
    kernel, biases = (
      one.numpy() for one in (model.layers[name].weights, model.layers[name].biases)
    )
    rows = (kernel[:, :, ::-1] if name == "conv1_1" else kernel).transpose(3, 2, 0, 1)
    blobs = [rows, biases.reshape(1, 1, 1, -1)]
    if name.startswith("conv"):
      side = len(kernel)
      layers[name] = layer(name, CONVOLUTION, blobs, pad=side // 2, kernel_size=side)
    else:
      blobs[0] = rows.reshape(1, 1, len(rows), -1)
      layers[name] = layer(name, INNER_PRODUCT, blobs)
    number = name.lstrip("convf")
    if after != "end":
      layers[f"relu{number}"] = layer(f"relu{number}", RELU)
    if name.startswith("fc") and after != "end":
      layers[f"drop{number}"] = layer(f"drop{number}", DROPOUT)
    if name.startswith("conv") and after[:5] != name[:5]:  # the last of its block
      pool = f"pool{number[0]}"
      layers[pool] = layer(pool, POOLING, pool=0, kernel_size=2, stride=2)
  return {**layers, "prob": layer("prob", SOFTMAX)}
