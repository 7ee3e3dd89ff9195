"""The pickles inside of PyTorch's files: what they describe, without running them.

A pickle is a program. The few instructions that a state dict takes are followed here one by one and
can build nothing but numbers, texts, lists, dicts and descriptions of tensors; whatever else the
program asks for is refused by name.
"""

from __future__ import annotations

import dataclasses
import pickletools
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

MOST_BYTES = 1 << 20  # that of VGG-19 takes 5 KB
_MOST_AXES = 64  # NumPy's own limit
_LONGEST_NAME = 256  # of a function or class
_STORAGES = {
  "FloatStorage": np.dtype("<f4"),
  "HalfStorage": np.dtype("<f2"),
  "DoubleStorage": np.dtype("<f8"),
  "LongStorage": np.dtype("<i8"),
}
_DICT, _TENSOR = "collections.OrderedDict", "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"


@dataclasses.dataclass(frozen=True)
class _Global:
  name: str


@dataclasses.dataclass(frozen=True)
class Storage:
  """The numbers behind tensors, of which the file has a copy each."""

  dtype: np.dtype
  key: str
  count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A view of a storage, in elements."""

  storage: Storage
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


def follow(file: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
  """Returns what the next pickle of a file describes, in our own inert values: `Tensor`s and such.

  Args:
    file: read up to the pickle's end.
    storages: gets all that it refers to, by key.

  Raises:
    ValueError: the program asks for more. One that was made up may end in other errors, too, such
      as a LookupError.
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
    if file.tell() - start > MOST_BYTES:
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
        stack[-1].update(zip(plain(values[::2]), values[1::2], strict=True))
      case "GLOBAL":
        stack.append(_Global(argument.replace(" ", ".")))
      case "STACK_GLOBAL":
        name, module = plain([stack.pop(), stack.pop()])
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
      if not isinstance(storage, Storage) or not axes or len(shape) > _MOST_AXES:
        raise ValueError("a tensor is not described as one")
      if not all(isinstance(number, int) for number in (offset, *shape, *strides)):
        raise ValueError("a tensor is not described by whole numbers")
      return Tensor(storage, offset, shape, strides)
    case _Global(name) if name == _PARAMETER and isinstance(arguments[0], Tensor):
      return arguments[0]
    case _Global(name):
      raise ValueError(f"its pickle calls {name}, which no state dict needs; it was not called")
  raise ValueError("its pickle calls what is no function")


def _storage(reference: tuple) -> Storage:
  kind, storage, key, _, count = reference[:5]
  name = storage.name.removeprefix("torch.")
  if kind != "storage" or name not in _STORAGES:
    raise ValueError(f"numbers of {storage.name} are not known")
  if not isinstance(key, str | int) or not isinstance(count, int):
    raise ValueError("numbers are not described as such")
  return Storage(_STORAGES[name], str(key), count)


def plain(keys: list) -> list[str | int]:
  """Returns keys and names, which are texts and numbers.

  Sixty steps make a tuple that holds twice the last one, and so on: to hash it, or to print it in
  an error, would take for ever.
  """
  if not all(isinstance(key, str | int) for key in keys):
    raise ValueError("its pickle has a key or a name that is neither a text nor a number")
  return keys


def stored_dtype(tensor: np.ndarray) -> np.dtype:
  """Returns the type in which a tensor is written: int64 for that, float32 for all others."""
  return np.dtype("<i8") if tensor.dtype == np.int64 else np.dtype("<f4")


def write(state: Mapping[str, np.ndarray]) -> bytes:
  """Returns the program that makes the state dict: protocol 2, as torch.save's.

  Its storages are called "0", "1" and so on in the state's order, and are of `stored_dtype`.
  """

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
    kind = next(one for one, dtype in _STORAGES.items() if dtype == stored_dtype(tensor))
    strides = tuple(stride // tensor.itemsize for stride in np.ascontiguousarray(tensor).strides)
    program += text(name) + reference(_TENSOR) + b"(("
    program += text("storage") + reference(f"torch.{kind}") + text(str(key)) + text("cpu")
    program += b"J" + struct.pack("<i", tensor.size) + b"tQK\x00"
    program += numbers(tensor.shape) + numbers(strides[: tensor.ndim]) + b"\x89" + empty + b"tR"
  return program + b"u."
