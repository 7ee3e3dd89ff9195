"""Caffe's .caffemodel, of both versions of its layers, and the .prototxt beside it.

The authors' own release of nets D and E (VGG_ILSVRC_16_layers, VGG_ILSVRC_19_layers) is version 1,
wants B, G and R, and pools with sides rounded up.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from vggtf import errors
from vggtf.weights import caffe_layers, caffe_net, canonical, norms, wire


def is_one(path: Path) -> bool:
  """Returns whether a file begins as a NetParameter: a name, perhaps inputs, then layers."""
  with open(path, "rb") as file, contextlib.suppress(ValueError):
    for number, value in wire.fields(memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))):
      if isinstance(value, int) and number == caffe_layers.NAME:
        return False
      if number in (caffe_layers.LAYERS, caffe_layers.LAYERS_V1):
        return not isinstance(value, int)
  return False


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str | None]]:
  """Returns canonical tensors in the file's colour order, and the facts that its layers tell.

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
  _refuse(path, caffe_net.problems(layers))
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
  _refuse(path, caffe_net.misplaced(layers, canonical.describe(tensors, str(path))))
  return tensors, caffe_net.facts(layers)


def prototxt(path: Path) -> Path:
  """Returns where the .prototxt of a .caffemodel lies."""
  return path.with_suffix(".prototxt")


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
  prototxt(path).write_text("\n".join(text) + "\n")


def _refuse(path: Path, problems: Iterable[str]) -> None:
  if listed := "; ".join(problems):
    raise errors.IntegrityError(f"{path} is no VGG of Caffe: {listed}")


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
  yield caffe_layers.Layer("data", "Input"), "", "data"
  bottom = "data"
  for kind, name in caffe_net.steps(net, facts.lrn_form is not None):
    top = bottom if kind in ("BatchNorm", "Scale", "ReLU") else name  # those work in place
    yield _layer(kind, name, tensors, facts), bottom, top
    bottom = top


def _layer(
  kind: str, name: str, tensors: Mapping[str, np.ndarray], facts: canonical.Facts
) -> caffe_layers.Layer:
  options: dict[str, int | float] = {}
  blobs: tuple[np.ndarray, ...] = ()
  if kind in ("Convolution", "InnerProduct"):
    kernel, biases = tensors[f"{name}/weights"], tensors[f"{name}/biases"]
    flat = kind == "InnerProduct"
    side = len(kernel)
    options = {"num_output": biases.size}
    options |= {} if flat else {"pad": side // 2, "kernel_size": side}
    blobs = (canonical.to_rows(kernel, flat), biases)
  elif kind == "BatchNorm":
    options = {"use_global_stats": 1, "eps": norms.EPSILON}
    statistics = (tensors[f"{name}/moving_mean"], tensors[f"{name}/moving_variance"])
    blobs = (*statistics, np.ones(1, np.float32))
  elif kind == "Scale":
    options = {"bias_term": 1}
    blobs = (tensors[name], tensors[name.replace("/scale", "/offset")])
  elif kind == "LRN":
    form = norms.LRN[facts.lrn_form]
    options = {"local_size": norms.LRN_SIZE, "alpha": form.alpha * norms.LRN_SIZE,
               "beta": form.beta, "k": form.bias}  # fmt: skip
  elif kind == "Pooling":
    options = dict(caffe_net.POOLING)
  return caffe_layers.Layer(name, kind, options, blobs)


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
    lines.append(f"{caffe_layers.parameter(layer.kind)} {{ {values} }}")
  return "layer {\n  " + "\n  ".join(lines) + "\n}"


def _spell(option: str, value: float) -> str:
  if option in ("bias_term", "use_global_stats"):
    return "true" if value else "false"
  if option == "pool":
    return "MAX"
  return repr(value)
