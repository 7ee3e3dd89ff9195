"""PyTorch's files without PyTorch: archives of numbers that a pickle describes (torch_pickle.py).

Both of torch.save's formats are read: the zip archive of version 1.6 on, and the older one, in
which torchvision's first VGGs are still published.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vggtf import errors
from vggtf.weights import torch_pickle
from vggtf.weights.torch_pickle import Storage, Tensor

LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # a pickled magic number
# What following a program that was made up can end in, here and in zipfile.
_DAMAGE = (
  ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, OverflowError,
  MemoryError,
)  # fmt: skip
_WRAPPERS = ("state_dict", "model")  # what training scripts keep their weights under


def read(path: Path) -> dict[str, np.ndarray]:
  """Returns the tensors of a state dict by name.

  Raises:
    IntegrityError: it is damaged, is no state dict, or its pickle asks for more than tensors.
  """
  try:
    with open(path, "rb") as file:
      found, load = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
      for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
          found = found[wrapper]
      if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError("it is no state dict; save model.state_dict(), not the model")
      if other := [name for name, one in found.items() if not isinstance(one, Tensor)]:
        raise ValueError(f"what should be tensors is not: {', '.join(other)}")
      storages: dict[str, np.ndarray] = {}
      for one in (tensor.storage for tensor in found.values()):
        if one.key not in storages:
          storages[one.key] = load(one)
        if storages[one.key].size != one.count or storages[one.key].dtype != one.dtype:
          raise ValueError(f"storage {one.key} has two descriptions")
      return {name: tensor.view(storages[tensor.storage.key]) for name, tensor in found.items()}
  except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
    raise errors.IntegrityError(f"{path} cannot be read as PyTorch's weights: {error}") from error


def write(path: Path, state: Mapping[str, np.ndarray]) -> None:
  """Writes the zip archive that torch.load reads, with weights_only too."""
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", torch_pickle.write(state))
    archive.writestr("archive/byteorder", "little")
    for key, tensor in enumerate(state.values()):
      with archive.open(f"archive/data/{key}", "w", force_zip64=True) as entry:
        numbers = np.ascontiguousarray(tensor)
        entry.write(numbers.astype(torch_pickle.stored_dtype(tensor), copy=False).data)
    archive.writestr("archive/version", "3\n")


def _read_zip(file: BinaryIO) -> tuple[Any, Callable[[Storage], np.ndarray]]:
  """Returns what the pickle describes, and what loads a storage."""
  archive = zipfile.ZipFile(file)
  sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
  if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
    raise ValueError("it is compressed, which torch.save's files are not")
  (pickled,) = (name for name in sizes if name.endswith("/data.pkl"))
  root = pickled.removesuffix("data.pkl")
  if f"{root}byteorder" in sizes and archive.read(f"{root}byteorder").strip() != b"little":
    raise ValueError("its numbers are big-endian")
  if sizes[f"{root}data.pkl"] > torch_pickle.MOST_BYTES:
    raise ValueError("its pickle is too long for a state dict")

  def load(storage: Storage) -> np.ndarray:
    name = f"{root}data/{storage.key}"
    if sizes[name] != storage.count * storage.dtype.itemsize:  # before a single byte is unpacked
      raise ValueError(f"storage {storage.key} has {sizes[name]} bytes for {storage.count} numbers")
    return np.frombuffer(archive.read(name), storage.dtype)

  return torch_pickle.follow(io.BytesIO(archive.read(f"{root}data.pkl"))), load


def _read_legacy(file: BinaryIO) -> tuple[Any, Callable[[Storage], np.ndarray]]:
  """Returns what the fourth pickle describes, and what loads a storage."""
  file.seek(0)
  if file.read(len(LEGACY)) != LEGACY:
    raise ValueError("it does not begin as torch.save's files do")
  torch_pickle.follow(file)  # the protocol's version
  if torch_pickle.follow(file).get("little_endian") is not True:
    raise ValueError("its numbers are big-endian")
  sizes: dict[str, Storage] = {}
  found = torch_pickle.follow(file, sizes)
  places, at = {}, 0
  keys = torch_pickle.follow(file)
  start, end = file.tell(), file.seek(0, io.SEEK_END)
  data = np.memmap(file, np.uint8, "r", start, (end - start,))
  for key in torch_pickle.plain(keys):
    (count,) = struct.unpack("<q", data[at : at + 8].tobytes().ljust(8, b"\xff"))
    size = count * sizes[key].dtype.itemsize
    if count < 0 or at + 8 + size > len(data):
      raise ValueError("it is cut short")
    places[key] = data[at + 8 : at + 8 + size].view(sizes[key].dtype)
    at += 8 + size
  return found, lambda storage: places[storage.key]
