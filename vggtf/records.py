"""TFRecord framing without TensorFlow: what a shard file is made of, byte by byte.

A record is: length (uint64), masked crc32c of the length, the data, masked crc32c of the data, all
little-endian. The checksums find flipped bits but not a file that was cut short, and TensorFlow's
reader trusts a length whose checksum is right (2^40 ends the process with SIGSEGV), so `scan` walks
the lengths of a file before anything else opens it.
"""

import struct
from collections.abc import Iterator

import google_crc32c
import numpy as np

from vggtf import errors

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
OVERHEAD = _HEADER.size + _FOOTER.size  # bytes of framing around each record
_MASK_DELTA = 0xA282EAD8  # tensorflow/core/lib/hash/crc32c.h


def _masked_crc(data: bytes) -> int:
  crc = google_crc32c.value(data)
  return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
  """Returns `data` as one TFRecord, framing included."""
  length = struct.pack("<Q", len(data))
  return b"".join(
    (length, _FOOTER.pack(_masked_crc(length)), data, _FOOTER.pack(_masked_crc(data)))
  )


def scan(buffer, where: str) -> np.ndarray:
  """Finds the records of a shard by their lengths alone; no data is read or allocated.

  Args:
    buffer: the whole file, as bytes or an mmap.
    where: the file's name, for messages.

  Returns:
    int64 [records, 2]: offset of each record's data and its length, in bytes.

  Raises:
    IntegrityError: the file is cut short, a length is damaged or points outside the file.
  """
  spans, at, size = [], 0, len(buffer)
  while at < size:
    header = buffer[at : at + _HEADER.size]
    if len(header) < _HEADER.size:
      raise errors.IntegrityError(f"{where}: cut short inside the header of record {len(spans)}")
    length, crc = _HEADER.unpack(header)
    if crc != _masked_crc(header[:8]):
      kind = f"not a TFRecord (starts with {header[:3].hex(' ')})" if not spans else "damaged"
      raise errors.IntegrityError(f"{where}: {kind}: wrong checksum at byte {at}")
    left = size - at - OVERHEAD
    if length > left:
      raise errors.IntegrityError(
        f"{where}: record {len(spans)} claims {length} bytes, {max(0, left)} are left"
      )
    spans.append((at + _HEADER.size, length))
    at += length + OVERHEAD
  return np.array(spans, np.int64).reshape(-1, 2)


def read(buffer, offset: int, length: int, where: str) -> bytes:
  """Returns the data of the record that `scan` found at `offset`, its checksum verified.

  Raises:
    IntegrityError: the checksum does not match; the message names `where` and the byte.
  """
  data = buffer[offset : offset + length]
  (crc,) = _FOOTER.unpack(buffer[offset + length : offset + length + _FOOTER.size])
  if crc != _masked_crc(data):
    raise errors.IntegrityError(f"{where}: damaged record: wrong checksum of data at byte {offset}")
  return data


def iterate(buffer, where: str) -> Iterator[bytes]:
  """Yields every record of a shard in file order, verified."""
  for offset, length in scan(buffer, where):
    yield read(buffer, int(offset), int(length), where)
