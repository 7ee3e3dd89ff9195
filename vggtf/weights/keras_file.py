"""Keras's files: applications' .h5, and the .weights.h5 and .keras of Keras 3.

All three name layers as keras.applications does: block1_conv1 ... block5_conv4, fc1, fc2 and
predictions. No code inside of them is run: reading takes arrays, and never a layer's class.
"""

from __future__ import annotations

import functools
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from vggtf import errors
from vggtf.weights import canonical, extras, hdf5_links, unpacked

HDF5 = b"\x89HDF\r\n\x1a\n"
INNER = "model.weights.h5"  # of a .keras archive
_TOP = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
_EXTRA = "keras"


def read(path: Path) -> dict[str, np.ndarray]:
  """Returns canonical tensors; R, G and B as the file has them.

  Raises:
    IntegrityError: it is damaged, or holds no VGG.
    EnvironmentFault: h5py is not installed.
  """
  h5py = extras.load("h5py", _EXTRA)
  try:
    if zipfile.is_zipfile(path):
      unpacked.check(path)
      with zipfile.ZipFile(path) as archive, archive.open(INNER) as inner:
        return _read_hdf5(h5py, io.BytesIO(inner.read()), str(path))
    return _read_hdf5(h5py, path, str(path))
  except errors.VggtfError:
    raise
  except Exception as error:  # h5py and zipfile let through what damage makes of structures
    raise errors.IntegrityError(f"{path} cannot be read as Keras's weights: {error}") from error


def write_application(path: Path, tensors: Mapping[str, np.ndarray], net: canonical.Net) -> None:
  """Writes what keras.applications.VGG16(weights=path) loads."""
  h5py = extras.load("h5py", _EXTRA)
  with h5py.File(path, "w") as file:
    layers = _layers(tensors, net)
    file.attrs["layer_names"] = [name.encode() for name in layers]
    file.attrs["backend"] = b"tensorflow"
    file.attrs["keras_version"] = b"2.15.0"  # the last with this form of its own
    for name, arrays in layers.items():
      group = file.create_group(name)
      keys = [f"{name}/kernel:0", f"{name}/bias:0"]
      group.attrs["weight_names"] = [key.encode() for key in keys]
      for key, array in zip(keys, arrays, strict=True):
        group.create_dataset(key, data=array)


def write_weights(path: Path, tensors: Mapping[str, np.ndarray], net: canonical.Net) -> None:
  """Writes what a Keras 3 model's load_weights takes: layers counted by class."""
  h5py = extras.load("h5py", _EXTRA)
  counts = {"conv2d": 0, "dense": 0}
  with h5py.File(path, "w") as file:
    file.create_group("vars")
    for name, arrays in _layers(tensors, net).items():
      kind = "conv2d" if name.startswith("block") else "dense"
      number = f"_{counts[kind]}" if counts[kind] else ""
      counts[kind] += 1
      group = file.create_group(f"layers/{kind}{number}/vars")
      group.attrs["name"] = name
      for index, array in enumerate(arrays):
        group.create_dataset(str(index), data=array)


def write_model(
  path: Path, tensors: Mapping[str, np.ndarray], net: canonical.Net, facts: canonical.Facts
) -> None:
  """Writes what keras.models.load_model takes: the layers of keras.applications, and weights."""
  keras = extras.load("keras", _EXTRA)
  layers, arrays = keras.layers, _layers(tensors, net)
  padding = "same" if facts.pool_rounding == "ceil" else "valid"
  maps = inputs = keras.Input((facts.input_size, facts.input_size, 3))
  for number, block in enumerate(net.blocks, 1):
    for own in block:
      kernel = tensors[f"{own}/weights"]
      maps = layers.Conv2D(
        kernel.shape[-1], len(kernel), padding="same", activation="relu", name=_name(own)
      )(maps)
    maps = layers.MaxPooling2D(2, 2, padding=padding, name=f"block{number}_pool")(maps)
  if net.top:
    maps = layers.Flatten(name="flatten")(maps)
  for own in net.top:
    activation = "softmax" if own == "fc8" else "relu"
    size = tensors[f"{own}/biases"].size
    maps = layers.Dense(size, activation=activation, name=_name(own))(maps)
  model = keras.Model(inputs, maps, name=f"vgg_{net.config.lower()}")
  for name, (kernel, bias) in arrays.items():
    model.get_layer(name).set_weights([kernel, bias])
  model.save(path)


def _read_hdf5(h5py, source: Path | IO[bytes], where: str) -> dict[str, np.ndarray]:
  with h5py.File(source, "r") as file:
    hdf5_links.check(h5py, file)
    read = functools.partial(_array, h5py, set())
    layers = list(_kept_by_class(read, file) if "layers" in file else _kept_by_name(read, file))
  found = {
    f"{layer}/{part}": array
    for layer, arrays in layers
    for part, array in zip(_parts(layer, arrays), arrays, strict=True)
  }
  convolutions = {
    f"conv{match[1]}_{match[2]}": layer
    for layer, _ in layers
    if (match := re.fullmatch(r"block(\d)_conv(\d+)", layer))
  }
  top = _TOP if any(layer in _TOP.values() for layer, _ in layers) else {}
  names = {
    f"{layer}/{part}": f"{own}/{canonical_part}"
    for own, layer in (convolutions | top).items()
    for part, canonical_part in (("kernel", "weights"), ("bias", "biases"))
  }
  last = found.get(f"{convolutions[max(convolutions)]}/bias") if convolutions else None
  channels = 1 if last is None else last.size
  return canonical.rename(
    found, names, lambda name, array: _unflatten(name, array, channels), where
  )


def _kept_by_class(read: Callable, file) -> Iterator[tuple[str, list[np.ndarray]]]:
  """Yields the layers of Keras 3's form: their names are attributes."""
  for group in file["layers"].values():
    kept = group["vars"]
    if len(kept):
      name = kept.attrs.get("name", group.name.rpartition("/")[2])
      yield str(name), [read(kept, key) for key in sorted(kept, key=int)]


def _kept_by_name(read: Callable, file) -> Iterator[tuple[str, list[np.ndarray]]]:
  """Yields the layers of the older form: groups by name, in a whole model's file one deeper."""
  root = file.get("model_weights", file)
  for name in root.attrs["layer_names"]:
    group = root[_text(name)]
    keys = [_text(key) for key in group.attrs["weight_names"]]
    if keys:
      yield _text(name), [read(group, key) for key in keys]


def _array(h5py, seen: set[int], group, key: str) -> np.ndarray:
  """Returns an array whose numbers lie in this file too, and puts its place into `seen`."""
  data = group[key]
  if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
    raise ValueError(f"{group.name}/{key} lies in another file")
  if data.size * data.dtype.itemsize > unpacked.MOST * max(data.id.get_storage_size(), 1024):
    raise ValueError(f"{group.name}/{key} would unpack to much more than it is")
  place = h5py.h5o.get_info(data.id).addr
  if place in seen:  # a small file could name one large array thousands of times
    raise ValueError(f"{group.name}/{key} is named twice")
  seen.add(place)
  return data[()]


def _parts(layer: str, arrays: list[np.ndarray]) -> list[str]:
  names = ["kernel", "bias"]
  return [names[at] if at < len(names) else f"tensor {at}" for at in range(len(arrays))]


def _unflatten(name: str, array: np.ndarray, channels: int) -> np.ndarray:
  """Returns the kernel of a dense layer, whose rows are [height, width, channels]."""
  if not name.startswith("fc") or not name.endswith("/weights") or array.ndim != 2:
    return array
  inputs = channels if name.startswith("fc6") else len(array)
  side = round((len(array) / inputs) ** 0.5)
  return array.reshape(side, side, inputs, array.shape[1])


def _layers(tensors: Mapping[str, np.ndarray], net: canonical.Net) -> dict[str, list[np.ndarray]]:
  """Returns kernels and biases by Keras's names of layers."""
  layers = {}
  for own in [*net.convolutions, *net.top]:
    kernel = tensors[f"{own}/weights"]
    if own in net.top:
      kernel = kernel.reshape(-1, kernel.shape[-1])
    layers[_name(own)] = [kernel, tensors[f"{own}/biases"]]
  return layers


def _name(layer: str) -> str:
  return _TOP.get(layer) or re.sub(r"conv(\d)_(\d+)", r"block\1_conv\2", layer)


def _text(value: bytes | str) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)
