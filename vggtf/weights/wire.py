"""The wire format of protocol buffers, as far as Caffe's files need it.

Half a gigabyte of floats is looked at where it lies and not copied, and nothing is allocated for
what a stranger's length claims.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10  # bytes


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
  """Yields (number, value) of a message's fields: an int, or the bytes of anything else.

  Raises:
    ValueError: the message is cut short or of no known wire type.
  """
  at = 0
  while at < len(data):
    key, at = _varint(data, at)
    kind = key & 7
    if kind == VARINT:
      value, at = _varint(data, at)
      yield key >> 3, value
      continue
    if kind == BYTES:
      size, at = _varint(data, at)
    elif kind in (FIXED64, FIXED32):
      size = 8 if kind == FIXED64 else 4
    else:
      raise ValueError(f"wire type {kind} at byte {at} is not known")
    if at + size > len(data):
      raise ValueError(f"field {key >> 3} of {size} bytes is cut short")
    yield key >> 3, data[at : at + size]
    at += size


def varints(value: int | memoryview) -> list[int]:
  """Returns the numbers of a repeated field, packed or one of those that are not."""
  if isinstance(value, int):
    return [value]
  numbers, at = [], 0
  while at < len(value):
    number, at = _varint(value, at)
    numbers.append(number)
  return numbers


def number(field: int, value: int | float) -> bytes:
  """Returns a field of an int, or of a float of 32 bits."""
  if isinstance(value, float):
    return _encode(field << 3 | FIXED32) + struct.pack("<f", value)
  return _encode(field << 3 | VARINT) + _encode(int(value))


def block(field: int, content: bytes) -> bytes:
  """Returns a field of a text, of packed numbers or of a message."""
  return header(field, len(content)) + content


def header(field: int, size: int) -> bytes:
  """Returns what comes before the bytes of such a field."""
  return _encode(field << 3 | BYTES) + _encode(size)


def packed(values: tuple[int, ...]) -> bytes:
  """Returns the content of a packed field of ints."""
  return b"".join(_encode(value) for value in values)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
  """Returns a number and where the next byte is."""
  value = 0
  for place, byte in enumerate(data[at : at + _LONGEST_VARINT]):
    value |= (byte & 0x7F) << 7 * place
    if byte < 0x80:
      return value, at + place + 1
  raise ValueError(f"the number at byte {at} has no end")


def _encode(value: int) -> bytes:
  out = bytearray()
  while value >= 0x80:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)
