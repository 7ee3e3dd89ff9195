"""Caffe's .caffemodel, of both versions of its layers, and the .prototxt beside it.

The authors' own release of nets D and E (VGG_ILSVRC_16_layers, VGG_ILSVRC_19_layers) is version 1,
wants B, G and R, and pools with sides rounded up.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vggtf import errors
from vggtf.weights import caffe_layers, canonical, norms, wire

# What may stand beside the layers with weights: it computes what the net's own parts do, or nothing
# outside of training.
_SILENT = {
  "Accuracy", "Data", "Dropout", "ImageData", "Input", "LRN", "Pooling", "ReLU", "Softmax",
  "SoftmaxWithLoss", "Split",
}  # fmt: skip
_POOLING = {"pool": 0, "kernel_size": 2, "stride": 2, "pad": 0}


def is_one(path: Path) -> bool:
  """Returns whether a file begins as a NetParameter: a name, perhaps inputs, then layers."""
  with open(path, "rb") as file, contextlib.suppress(ValueError):
    for number, value in wire.fields(memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))):
      if isinstance(value, int) and number == caffe_layers.NAME:
        return False
      if number in (caffe_layers.LAYERS, caffe_layers.LAYERS_V1):
        return not isinstance(value, int)
  return False


def read(path: Path) -> tuple[dict[str, np.ndarray], str | None]:
  """Returns canonical tensors in the file's colour order, and the form of its LRN, if it has one.

  Raises:
    IntegrityError: it is damaged; or layers are unknown or do other than a VGG's, and all of those
      are listed.
  """
  with open(path, "rb") as file:
    try:
      data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
      layers = list(caffe_layers.read(data))
    except (ValueError, IndexError, TypeError) as error:
      raise errors.IntegrityError(f"{path} is damaged, or not of Caffe: {error}") from error
  if problems := [problem for layer in layers for problem in _problems(layer)]:
    raise errors.IntegrityError(f"{path} is no VGG of Caffe: {'; '.join(problems)}")
  found, names, last, channels = {}, {}, "", 1
  for layer in layers:
    if layer.kind in ("Convolution", "InnerProduct") and layer.blobs:
      last = layer.name
      channels = len(layer.blobs[0]) if last.startswith("conv") else channels
    for part, blob in _named(layer, last):
      found[f"{layer.name}: {part}"] = blob
      names[f"{layer.name}: {part}"] = part
  tensors = canonical.rename(
    found, names, lambda name, blob: _from_blob(name, blob, channels), str(path)
  )
  lrn = [layer.options for layer in layers if layer.kind == "LRN"]
  return tensors, norms.lrn_form(lrn[0].get("alpha", 1.0), lrn[0].get("k", 1.0)) if lrn else None


def write(
  path: Path, tensors: Mapping[str, np.ndarray], net: canonical.Net, facts: canonical.Facts
) -> None:
  """Writes the .caffemodel, and its .prototxt under the same name."""
  text = [f'name: "VGG_{net.config}"']
  with open(path, "wb") as file:
    file.write(wire.block(caffe_layers.NAME, f"VGG_{net.config}".encode()))
    for layer, bottom, top in _chain(tensors, net, facts):
      head = caffe_layers.encode(layer, bottom, top)
      blobs = [(caffe_layers.blob_header(blob), blob) for blob in layer.blobs]
      size = len(head) + sum(len(header) + blob.nbytes for header, blob in blobs)
      file.write(wire.header(caffe_layers.LAYERS, size) + head)
      for header, blob in blobs:
        file.write(header)
        file.write(blob.astype("<f4", copy=False).data)
      text.append(_text(layer, bottom, top, facts))
  path.with_suffix(".prototxt").write_text("\n".join(text) + "\n")


def _problems(layer: caffe_layers.Layer) -> Iterator[str]:
  """Yields what a layer does that no VGG does."""
  options = layer.options
  where = f"layer {layer.name!r}"
  if layer.kind == "Convolution":
    if len(layer.blobs) > 1 and layer.blobs[0].ndim == 4:
      side = layer.blobs[0].shape[-1]
      pad = 0 if layer.name.startswith("fc") else side // 2
      wanted = {"pad": pad, "stride": 1, "group": 1, "dilation": 1}
      given = {**wanted, "pad": 0, **_of_both_sides(options)}
      yield from _unlike(where, wanted, given)
  elif layer.kind == "Pooling":
    yield from _unlike(where, _POOLING, {"pool": 0, "pad": 0, **options})
  elif layer.kind == "BatchNorm":
    if abs(options.get("eps", norms.EPSILON) - norms.EPSILON) > 1e-9:
      yield f"{where} has eps {options['eps']}, not {norms.EPSILON}"
  elif layer.kind == "LRN":
    if norms.lrn_form(options.get("alpha", 1.0), options.get("k", 1.0)) is None:
      yield f"{where} has another form than AlexNet's or Caffe's"
  elif layer.kind == "InnerProduct" and options.get("transpose"):
    yield f"{where} is transposed"
  elif layer.kind not in _SILENT | {"InnerProduct", "Scale"}:
    yield f"{where} is of the unknown type {layer.kind}"
  elif layer.kind in _SILENT and layer.blobs:
    yield f"{where} of type {layer.kind} has weights"


def _unlike(where: str, wanted: Mapping, given: Mapping) -> Iterator[str]:
  for name, value in wanted.items():
    if given.get(name) != value:
      yield f"{where} has {name} {given.get(name)}, not {value}"


def _of_both_sides(options: Mapping[str, int | float]) -> dict[str, int | float]:
  """Returns the options with pad_h and pad_w, where they are equal, as pad; stride likewise."""
  merged = dict(options)
  for name in ("pad", "stride"):
    high, wide = merged.get(f"{name}_h"), merged.get(f"{name}_w")
    if high is not None and high == wide:
      merged[name] = high
  return merged


def _named(layer: caffe_layers.Layer, last: str) -> Iterator[tuple[str, np.ndarray]]:
  """Yields the canonical names of a layer's blobs; norms belong to the last convolution."""
  norm = canonical.norm_name(last)
  if layer.kind == "BatchNorm" and len(layer.blobs) == 3:
    mean, variance, factor = layer.blobs  # the sums of a moving average, and of its weights
    scale = np.float32(0 if factor.ravel()[0] == 0 else 1 / factor.ravel()[0])
    yield f"{norm}/moving_mean", mean * scale
    yield f"{norm}/moving_variance", variance * scale
    return
  parts = ("scale", "offset") if layer.kind == "Scale" else ("weights", "biases")
  start = norm if layer.kind == "Scale" else layer.name
  for at, blob in enumerate(layer.blobs):
    yield f"{start}/{parts[at] if at < len(parts) else f'blob {at}'}", blob


def _from_blob(name: str, blob: np.ndarray, channels: int) -> np.ndarray:
  if not name.endswith("/weights"):
    return blob.reshape(-1)  # version 1 has four axes for all
  if name.startswith("fc") and blob.ndim == 4 and blob.shape[:2] == (1, 1):
    blob = blob.reshape(blob.shape[2:])
  return canonical.from_rows(name, blob, channels)


def _chain(
  tensors: Mapping[str, np.ndarray], net: canonical.Net, facts: canonical.Facts
) -> Iterator[tuple[caffe_layers.Layer, str, str]]:
  """Yields the layers with the names of what goes in and what comes out."""
  Layer = caffe_layers.Layer
  yield Layer("data", "Input"), "", "data"
  bottom = "data"
  for number, block in enumerate(net.blocks, 1):
    for name in block:
      kernel = tensors[f"{name}/weights"]
      side = len(kernel)
      options = {"num_output": kernel.shape[-1], "pad": side // 2, "kernel_size": side}
      blobs = (canonical.to_rows(kernel, flat=False), tensors[f"{name}/biases"])
      yield Layer(name, "Convolution", options, blobs), bottom, name
      if net.norm:
        for layer in _norm(tensors, canonical.norm_name(name)):
          yield layer, name, name
      yield Layer(name.replace("conv", "relu"), "ReLU"), name, name
      bottom = name
    if number == 1 and facts.lrn_form:
      form = norms.LRN[facts.lrn_form]
      options = {"local_size": norms.LRN_SIZE, "alpha": form.alpha * norms.LRN_SIZE,
                 "beta": form.beta, "k": form.bias}  # fmt: skip
      yield Layer("lrn1", "LRN", options), bottom, "lrn1"
      bottom = "lrn1"
    yield Layer(f"pool{number}", "Pooling", dict(_POOLING)), bottom, f"pool{number}"
    bottom = f"pool{number}"
  for name in net.top:
    kernel, biases = tensors[f"{name}/weights"], tensors[f"{name}/biases"]
    blobs = (canonical.to_rows(kernel, flat=True), biases)
    yield Layer(name, "InnerProduct", {"num_output": biases.size}, blobs), bottom, name
    bottom = name
    if name != net.top[-1]:
      yield Layer(name.replace("fc", "relu"), "ReLU"), name, name
  if net.top:
    yield Layer("prob", "Softmax"), bottom, "prob"


def _norm(tensors: Mapping[str, np.ndarray], name: str) -> Iterator[caffe_layers.Layer]:
  one = np.ones(1, np.float32)
  statistics = (tensors[f"{name}/moving_mean"], tensors[f"{name}/moving_variance"], one)
  options = {"use_global_stats": 1, "eps": norms.EPSILON}
  yield caffe_layers.Layer(name, "BatchNorm", options, statistics)
  affine = (tensors[f"{name}/scale"], tensors[f"{name}/offset"])
  yield caffe_layers.Layer(f"{name}/scale", "Scale", {"bias_term": 1}, affine)


def _text(layer: caffe_layers.Layer, bottom: str, top: str, facts: canonical.Facts) -> str:
  """Returns a layer of the .prototxt."""
  lines = [f'name: "{layer.name}"', f'type: "{layer.kind}"']
  lines += [f'bottom: "{bottom}"'] if bottom else []
  lines.append(f'top: "{top}"')
  if layer.kind == "Input":
    size = facts.input_size
    lines.append(f"input_param {{ shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }} }}")
  elif layer.options:
    values = " ".join(f"{n}: {_spell(n, value)}" for n, value in layer.options.items())
    lines.append(f"{caffe_layers.parameter(layer)} {{ {values} }}")
  return "layer {\n  " + "\n  ".join(lines) + "\n}"


def _spell(option: str, value: float) -> str:
  if option in ("bias_term", "use_global_stats"):
    return "true" if value else "false"
  if option == "pool":
    return "MAX"
  return repr(value)
