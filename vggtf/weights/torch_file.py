"""PyTorch's files without PyTorch, and without running the pickle that is inside of them.

A pickle is a program. The few instructions that a state dict takes are followed here one by one and
can build nothing but numbers, texts, lists, dicts and views of the file's own bytes; whatever else
the program asks for is refused by name. Both of torch.save's formats are read: the zip archive
of version 1.6 on, and the older one, in which torchvision's first VGGs are still published.
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vggtf import errors

LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."  # a pickled magic number
_MOST_BYTES = 1 << 20  # of the pickle; that of VGG-19 takes 5 KB
_MOST_AXES = 64  # NumPy's own limit
_LONGEST_NAME = 256  # of a function or class
_STORAGES = {
  "FloatStorage": np.dtype("<f4"),
  "HalfStorage": np.dtype("<f2"),
  "DoubleStorage": np.dtype("<f8"),
  "LongStorage": np.dtype("<i8"),
}
# What following a program that was made up can end in, here and in zipfile.
_DAMAGE = (
  ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, OverflowError,
  MemoryError,
)  # fmt: skip
_DICT, _TENSOR = "collections.OrderedDict", "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_WRAPPERS = ("state_dict", "model")  # what training scripts keep their weights under


@dataclasses.dataclass(frozen=True)
class _Global:
  name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
  dtype: np.dtype
  key: str
  count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """A view of a storage, in elements."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def view(self, data: np.ndarray) -> np.ndarray:
    """Returns the view; it must lie inside the data, and show no element twice."""
    last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
    count = int(np.prod(self.shape, dtype=object))
    whole = min((self.offset, *self.shape, *self.strides), default=0) >= 0
    if not whole or count > data.size or (count and last >= data.size):
      raise ValueError(f"a tensor of shape {self.shape} reaches beyond its {data.size} numbers")
    strides = [data.itemsize * stride for stride in self.strides]
    return np.lib.stride_tricks.as_strided(
      data[self.offset :], self.shape, strides, writeable=False
    )


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
      if other := [name for name, one in found.items() if not isinstance(one, _Tensor)]:
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
    archive.writestr("archive/data.pkl", _pickle(state))
    archive.writestr("archive/byteorder", "little")
    for key, tensor in enumerate(state.values()):
      with archive.open(f"archive/data/{key}", "w", force_zip64=True) as entry:
        entry.write(np.ascontiguousarray(tensor).astype(_dtype(tensor), copy=False).data)
    archive.writestr("archive/version", "3\n")


def _read_zip(file: BinaryIO) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
  """Returns what the pickle describes, and what loads a storage."""
  archive = zipfile.ZipFile(file)
  sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
  if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
    raise ValueError("it is compressed, which torch.save's files are not")
  (pickled,) = (name for name in sizes if name.endswith("/data.pkl"))
  root = pickled.removesuffix("data.pkl")
  if f"{root}byteorder" in sizes and archive.read(f"{root}byteorder").strip() != b"little":
    raise ValueError("its numbers are big-endian")
  if sizes[f"{root}data.pkl"] > _MOST_BYTES:
    raise ValueError("its pickle is too long for a state dict")

  def load(storage: _Storage) -> np.ndarray:
    name = f"{root}data/{storage.key}"
    if sizes[name] != storage.count * storage.dtype.itemsize:  # before a single byte is unpacked
      raise ValueError(f"storage {storage.key} has {sizes[name]} bytes for {storage.count} numbers")
    return np.frombuffer(archive.read(name), storage.dtype)

  return _follow(io.BytesIO(archive.read(f"{root}data.pkl"))), load


def _read_legacy(file: BinaryIO) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
  """Returns what the fourth pickle describes, and what loads a storage."""
  file.seek(0)
  if file.read(len(LEGACY)) != LEGACY:
    raise ValueError("it does not begin as torch.save's files do")
  _follow(file)  # the protocol's version
  if _follow(file).get("little_endian") is not True:
    raise ValueError("its numbers are big-endian")
  sizes: dict[str, _Storage] = {}
  found = _follow(file, sizes)
  places, at = {}, 0
  keys = _follow(file)
  start, end = file.tell(), file.seek(0, io.SEEK_END)
  data = np.memmap(file, np.uint8, "r", start, (end - start,))
  for key in _plain(keys):
    (count,) = struct.unpack("<q", data[at : at + 8].tobytes().ljust(8, b"\xff"))
    size = count * sizes[key].dtype.itemsize
    if count < 0 or at + 8 + size > len(data):
      raise ValueError("it is cut short")
    places[key] = data[at + 8 : at + 8 + size].view(sizes[key].dtype)
    at += 8 + size
  return found, lambda storage: places[storage.key]


def _follow(file: BinaryIO, storages: dict[str, _Storage] | None = None) -> Any:
  """Returns what the next pickle of a file describes, in our own inert values.

  Args:
    file: read up to the pickle's end.
    storages: gets all that it refers to, by key.
  """
  storages = {} if storages is None else storages
  stack: list[Any] = []
  marks: list[int] = []
  memo: dict[int, Any] = {}
  start = file.tell()

  def cut() -> list[Any]:
    at = marks.pop()
    values = stack[at:]
    del stack[at:]
    return values

  for opcode, argument, _ in pickletools.genops(file):
    if file.tell() - start > _MOST_BYTES:
      raise ValueError("its pickle is too long for a state dict")
    match opcode.name:
      case "PROTO" | "FRAME":
        continue
      case "STOP":
        return stack.pop()
      case "MARK":
        marks.append(len(stack))
      case "BINPUT" | "LONG_BINPUT":
        memo[argument] = stack[-1]
      case "MEMOIZE":
        memo[len(memo)] = stack[-1]
      case "BINGET" | "LONG_BINGET":
        stack.append(memo[argument])
      case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
        stack.append(argument)
      case "BINUNICODE" | "SHORT_BINUNICODE":
        stack.append(argument)
      case "NONE" | "NEWTRUE" | "NEWFALSE":
        stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
      case "EMPTY_DICT":
        stack.append({})
      case "EMPTY_LIST":
        stack.append([])
      case "EMPTY_TUPLE":
        stack.append(())
      case "TUPLE":
        stack.append(tuple(cut()))
      case "TUPLE1" | "TUPLE2" | "TUPLE3":
        size = int(opcode.name[-1])
        stack[-size:] = [tuple(stack[-size:])]
      case "APPEND" | "APPENDS":
        values = cut() if opcode.name == "APPENDS" else [stack.pop()]
        stack[-1].extend(values)
      case "SETITEM" | "SETITEMS":
        values = cut() if opcode.name == "SETITEMS" else [stack.pop(-2), stack.pop()]
        stack[-1].update(zip(_plain(values[::2]), values[1::2], strict=True))
      case "GLOBAL":
        stack.append(_Global(argument.replace(" ", ".")))
      case "STACK_GLOBAL":
        name, module = _plain([stack.pop(), stack.pop()])
        if len(module) + len(name) > _LONGEST_NAME:
          raise ValueError("its pickle names what has too long a name")
        stack.append(_Global(f"{module}.{name}"))
      case "BINPERSID":
        storage = _storage(stack.pop())
        storages[storage.key] = storage
        stack.append(storage)
      case "REDUCE":
        arguments = stack.pop()
        stack.append(_call(stack.pop(), arguments))
      case "BUILD":  # the dict's attributes, such as _metadata
        stack.pop()
      case _:
        raise ValueError(f"its pickle uses {opcode.name}, which no state dict needs")
  raise ValueError("its pickle has no end")


def _call(function: Any, arguments: tuple) -> Any:
  """Returns what the call would, for the three that a state dict is made of."""
  match function:
    case _Global(name) if name == _DICT and not arguments:
      return {}
    case _Global(name) if name == _TENSOR:
      storage, offset, shape, strides = arguments[:4]
      axes = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
      if not isinstance(storage, _Storage) or not axes or len(shape) > _MOST_AXES:
        raise ValueError("a tensor is not described as one")
      if not all(isinstance(number, int) for number in (offset, *shape, *strides)):
        raise ValueError("a tensor is not described by whole numbers")
      return _Tensor(storage, offset, shape, strides)
    case _Global(name) if name == _PARAMETER and isinstance(arguments[0], _Tensor):
      return arguments[0]
    case _Global(name):
      raise ValueError(f"its pickle calls {name}, which no state dict needs; it was not called")
  raise ValueError("its pickle calls what is no function")


def _storage(reference: tuple) -> _Storage:
  kind, storage, key, _, count = reference[:5]
  name = storage.name.removeprefix("torch.")
  if kind != "storage" or name not in _STORAGES:
    raise ValueError(f"numbers of {storage.name} are not known")
  if not isinstance(key, str | int) or not isinstance(count, int):
    raise ValueError("numbers are not described as such")
  return _Storage(_STORAGES[name], str(key), count)


def _plain(keys: list) -> list[str | int]:
  """Returns keys and names, which are texts and numbers.

  Sixty steps make a tuple that holds twice the last one, and so on: to hash it, or to print it in
  an error, would take for ever.
  """
  if not all(isinstance(key, str | int) for key in keys):
    raise ValueError("its pickle has a key or a name that is neither a text nor a number")
  return keys


def _dtype(tensor: np.ndarray) -> np.dtype:
  return np.dtype("<i8") if tensor.dtype == np.int64 else np.dtype("<f4")


def _pickle(state: Mapping[str, np.ndarray]) -> bytes:
  """Returns the program that makes the state dict: protocol 2, as torch.save's."""

  def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded

  def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

  def reference(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()

  empty = reference(_DICT) + b")R"
  program = b"\x80\x02" + empty + b"("
  for key, (name, tensor) in enumerate(state.items()):
    kind = next(one for one, dtype in _STORAGES.items() if dtype == _dtype(tensor))
    strides = tuple(stride // tensor.itemsize for stride in np.ascontiguousarray(tensor).strides)
    program += text(name) + reference(_TENSOR) + b"(("
    program += text("storage") + reference(f"torch.{kind}") + text(str(key)) + text("cpu")
    program += b"J" + struct.pack("<i", tensor.size) + b"tQK\x00"
    program += numbers(tensor.shape) + numbers(strides[: tensor.ndim]) + b"\x89" + empty + b"tR"
  return program + b"u."
