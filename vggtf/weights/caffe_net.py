"""What Caffe's layers must be to make a VGG: their order, and what each of them does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from vggtf.weights import caffe_layers, canonical, norms

POOLING = {"pool": 0, "kernel_size": 2, "stride": 2, "pad": 0}
_WEIGHTED = {"Convolution", "InnerProduct"}
_PLAIN = {"LRN", "Pooling", "ReLU", "Softmax"}  # they compute, and have no weights
# These compute nothing outside of training.
_IDLE = {"Accuracy", "Data", "Dropout", "ImageData", "Input", "SoftmaxWithLoss", "Split"}
_ROUNDINGS = ("ceil", "floor")  # by round_mode
_DEFAULTS = {
  "pad": 0, "stride": 1, "group": 1, "dilation": 1,  # of convolutions and poolings
  "pool": 0, "global_pooling": 0, "round_mode": 0,
  "axis": 1, "transpose": 0,  # of inner products
  "negative_slope": 0,  # of a ReLU
  "local_size": 5, "norm_region": 0, "alpha": 1.0, "beta": 0.75, "k": 1.0,  # of an LRN
  "eps": 1e-5,  # of a batch norm
}  # fmt: skip


def steps(net: canonical.Net, lrn: bool) -> Iterator[tuple[str, str]]:
  """Yields the kinds and names of the layers that compute a VGG, in order."""
  for number, block in enumerate(net.blocks, 1):
    for name in block:
      yield "Convolution", name
      if net.norm:
        yield "BatchNorm", canonical.norm_name(name)
        yield "Scale", f"{canonical.norm_name(name)}/scale"
      yield "ReLU", name.replace("conv", "relu")
    if number == 1 and lrn:
      yield "LRN", "lrn1"
    yield "Pooling", f"pool{number}"
  for name in net.top:
    yield "InnerProduct", name
    if name != net.top[-1]:
      yield "ReLU", name.replace("fc", "relu")
  if net.top:
    yield "Softmax", "prob"


def facts(layers: Iterable[caffe_layers.Layer]) -> dict[str, str | None]:
  """Returns the facts that the layers tell: how poolings round, and the form of an LRN."""
  found: dict[str, str | None] = {"pool_rounding": "ceil", "lrn_form": None}
  for layer in layers:
    if layer.kind == "Pooling":
      found["pool_rounding"] = _ROUNDINGS[_given(layer.options)["round_mode"]]
    elif layer.kind == "LRN":
      found["lrn_form"] = _lrn_form(layer)
  return found


def problems(layers: Sequence[caffe_layers.Layer]) -> Iterator[str]:
  """Yields what layers do that no VGG's do."""
  floor = any(one.kind == "Pooling" and one.options.get("round_mode") == 1 for one in layers)
  for layer in layers:
    where = f"layer {layer.name!r}"
    if layer.kind not in _WEIGHTED | _PLAIN | _IDLE | {"BatchNorm", "Scale"}:
      yield f"{where} is of the unknown type {layer.kind}"
    elif layer.kind in _PLAIN | _IDLE and layer.blobs:
      yield f"{where} of type {layer.kind} has weights"
    elif layer.kind == "LRN" and _lrn_form(layer) is None:
      yield f"{where} has another form than AlexNet's or Caffe's"
    given = _given(layer.options)
    if layer.kind == "BatchNorm" and not math.isclose(given["eps"], norms.EPSILON, rel_tol=1e-4):
      yield f"{where} has eps {given['eps']}, not {norms.EPSILON}"
    for option, value in _wanted(layer, int(floor)).items():
      if given.get(option) != value:
        yield f"{where} has {option} {given.get(option)}, not {value}"


def misplaced(layers: Iterable[caffe_layers.Layer], net: canonical.Net) -> Iterator[str]:
  """Yields where the order of the layers is not a VGG's; they may end before it does."""
  given = _followers((one.kind, one.name) for one in layers if one.kind not in _IDLE)
  lrn = net.config == "A" and any("LRN" in kinds for kinds in given.values())
  wanted = _followers(steps(net, lrn))
  if list(given) != list(wanted):
    yield f"its layers come as {', '.join(given)}, not as {', '.join(wanted)}"
    return
  *_, last = wanted
  wanted[last] = wanted[last][: len(given[last])]
  for name, kinds in given.items():
    if kinds != wanted[name]:
      found, expected = (", ".join(some) or "nothing" for some in (kinds, wanted[name]))
      yield f"layer {name!r} is followed by {found}, not by {expected}"


def _followers(order: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
  """Returns the kinds of layers that follow each of those with weights, and the input."""
  found: dict[str, list[str]] = {"data": []}
  last = found["data"]
  for kind, name in order:
    if kind in _WEIGHTED:
      last = found.setdefault(name, [])
    else:
      last.append(kind)
  return found


def _wanted(layer: caffe_layers.Layer, round_mode: int) -> Mapping[str, int]:
  """Returns the options that a layer of a VGG has."""
  match layer.kind:
    case "Convolution" if layer.blobs and layer.blobs[0].ndim == 4:
      side = layer.blobs[0].shape[-1]
      pad = 0 if layer.name.startswith("fc") else side // 2
      return {"kernel_size": side, "pad": pad, "stride": 1, "group": 1, "dilation": 1}
    case "InnerProduct":
      return {"axis": 1, "transpose": 0}
    case "ReLU":
      return {"negative_slope": 0}
    case "LRN":
      return {"local_size": norms.LRN_SIZE, "norm_region": 0}
    case "Pooling":
      return {**POOLING, "global_pooling": 0, "round_mode": round_mode}
  return {}


def _given(options: Mapping[str, int | float]) -> dict[str, int | float | str]:
  """Returns the options and Caffe's defaults; of sides that differ, a text that says both."""
  given = {**_DEFAULTS, **options}
  for name, start in (("kernel_size", "kernel"), ("pad", "pad"), ("stride", "stride")):
    high, wide = options.get(f"{start}_h"), options.get(f"{start}_w")
    if high is not None or wide is not None:
      given[name] = high if high == wide else f"{high} by {wide}"
  return given


def _lrn_form(layer: caffe_layers.Layer) -> str | None:
  given = _given(layer.options)
  return norms.lrn_form(given["alpha"], given["k"], given["beta"])
