"""What a tar holds and where, without extracting it, and no silence about damage.

Python's tarfile ends quietly at a damaged header, at a cut between two members and at missing
end-of-archive blocks. So each archive is read to its end here, and where tarfile stopped must be
that end. Damage inside a member's bytes is not seen: a tar has no checksum of them.
"""

import contextlib
import dataclasses
import gzip
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from data_tools import storage
from vggtf import errors

_BLOCK = tarfile.BLOCKSIZE
_MAX_HEADER = 1 << 20  # a long name or pax header; larger ones are hostile or damaged
_MAX_PADDING = 1 << 20  # writers fill the last record, of 10 KB, with zeros
_MAX_STREAMED = 64 << 20  # a member that is returned whole
_GZIP_START = b"\x1f\x8b"
_COMPRESSED = {_GZIP_START: "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz"}
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, RecursionError)  # tarfile, on bad headers
_CURE = "get the archive again"


@dataclasses.dataclass(frozen=True)
class Member:
  r"""One entry of a tar that is no directory.

  Attributes:
    name: its path in the archive; bytes that are not UTF-8 are spelt as in \xff.
    offset: of its bytes, from the beginning of the file that holds the archive.
    size: its bytes.
    unsafe: why it must not be opened: a link, a device, a path out of the archive; "" if it may.
  """

  name: str
  offset: int
  size: int
  unsafe: str = ""


def list_members(
  path: str, name: str, offset: int = 0, size: int | None = None
) -> Iterator[Member]:
  """Yields the members of an uncompressed tar; only headers are read, one at a time is kept.

  Args:
    path: of the file, here or in a bucket.
    name: of the archive, for messages.
    offset: where the archive begins in the file, if it is itself a member of an archive.
    size: its bytes; all that follows by default.

  Raises:
    UsageError: the archive is compressed.
    IntegrityError: it is no tar, is empty, cut or damaged. It may come after sound members.
    OSError: the file cannot be read.
  """
  size = storage.get_size(path) - offset if size is None else size
  with storage.open_file(path) as file:
    window = _Window(file, offset, size)
    window.seek(0)
    start = window.read(_BLOCK)
    for magic, program in _COMPRESSED.items():
      if start.startswith(magic):
        raise errors.UsageError(
          f"{name} is compressed, and its members cannot be found in it; run {program} on it first"
        )
    window.seek(0)
    for member in _iterate(window, name):
      if not member.isdir():
        yield _describe(member, offset)


def stream_members(path: str, name: str) -> Iterator[tuple[Member, bytes]]:
  """Yields the members of a tar, compressed by gzip or not, with their bytes, in their order.

  Args:
    path: of the file, here or in a bucket.
    name: of the archive, for messages.

  Raises:
    IntegrityError: it is no tar, is empty, cut or damaged. It may come after sound members.
    OSError: the file cannot be read.
  """
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(storage.open_file(path))
    compressed = file.read(len(_GZIP_START)) == _GZIP_START
    file.seek(0)
    if compressed:
      file = stack.enter_context(gzip.GzipFile(fileobj=file))
    window = _Window(file, 0, None)
    try:
      for member in _iterate(window, name):
        if member.isdir():
          continue
        described = _describe(member, 0)
        yield described, b"" if described.unsafe else _read_payload(window, member, name)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
      raise errors.IntegrityError(f"{name}: cut or damaged gzip file ({error}); {_CURE}") from None


def read_range(path: str, offset: int, size: int, name: str) -> bytes:
  """Returns the bytes of a member.

  Args:
    path: of the file that holds the archive.
    offset: `Member.offset`.
    size: `Member.size`.
    name: of the member, for messages.

  Raises:
    IntegrityError: the file ends before.
    OSError: it cannot be read.
  """
  data = storage.read_range(path, offset, size)
  if len(data) != size:
    raise errors.IntegrityError(
      f"{name}: {len(data)} of {size} bytes at byte {offset} of its archive, which is shorter than "
      f"when it was listed; {_CURE}"
    )
  return data


class _Window:
  """The part of a file that is one archive, as tarfile reads it: forward only, but for one seek.

  `last` is what the latest read returned. `size` is None if only reading on can tell it.
  """

  def __init__(self, file: BinaryIO, start: int, size: int | None):
    self._file = file
    self._start = start
    self.size = size
    self.last = b""

  def tell(self) -> int:
    return self._file.tell() - self._start

  def seek(self, position: int):
    self._file.seek(self._start + position)

  def read(self, size: int) -> bytes:
    if not 0 <= size <= _MAX_HEADER:
      raise tarfile.ReadError(f"a header of {size} bytes")
    self.last = self.read_on(size)
    return self.last

  def read_on(self, size: int) -> bytes:
    left = size if self.size is None else max(self.size - self.tell(), 0)
    return self._file.read(min(size, left))


def _iterate(window: _Window, name: str) -> Iterator[tarfile.TarInfo]:
  """Yields all members, directories too; whoever reads a payload reads it to its last block."""
  tar, at, members = None, 0, 0
  while True:
    try:
      tar = tar or tarfile.TarFile(fileobj=window, encoding="utf-8")
      member = tar.next()
    except _DAMAGE as error:
      raise _damaged(window, name, at, members, str(error)) from None
    if member is None:
      break
    tar.members.clear()  # it keeps every member otherwise
    if member.size < 0 or tar.offset < member.offset_data:
      raise _damaged(window, name, at, members, f"{member.size} bytes in {member.name!r}")
    if window.size is not None and tar.offset > window.size:
      raise _cut(name, window.size, members, f" inside {member.name!r}")
    members += 1
    at = tar.offset
    yield member
  _check_end(window, name, at, members)


def _check_end(window: _Window, name: str, at: int, members: int):
  marker = window.last  # the block that made tarfile stop
  if not any(marker) and len(marker) == _BLOCK:
    marker += window.read(_BLOCK)
  if any(marker) and len(marker) >= _BLOCK:
    raise _damaged(window, name, at, members, "neither a header nor the end of the archive")
  if len(marker) < 2 * _BLOCK:
    raise _cut(name, at + len(marker), members, "")
  if not members:
    raise errors.IntegrityError(f"{name}: an archive of no members; {_CURE}")
  padding = 0
  while chunk := window.read(_MAX_HEADER):
    padding += len(chunk)
    if any(chunk):
      raise _damaged(window, name, at, members, "zeros, and then more")
    if padding > _MAX_PADDING:
      raise _damaged(window, name, at, members, f"more than {_MAX_PADDING} zeros")


def _damaged(window: _Window, name: str, at: int, members: int, what: str):
  kind = "damaged header" if at else "no tar, or a damaged header"
  unread = "" if window.size is None else f"; {window.size - at} bytes unread"
  return errors.IntegrityError(
    f"{name}: {kind} at byte {at}{unread}: {members} members read, then {what}; {_CURE}"
  )


def _cut(name: str, at: int, members: int, where: str):
  return errors.IntegrityError(
    f"{name} ends at byte {at}{where} without end-of-archive marker: {members} members read; "
    f"{_CURE}"
  )


def _describe(member: tarfile.TarInfo, start: int) -> Member:
  name = member.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
  unsafe = ""
  if member.issym() or member.islnk():
    unsafe = f"a link to {member.linkname!a}"
  elif member.issparse():
    unsafe = "a sparse file"
  elif not member.isreg():
    unsafe = "a device, pipe or other special file"
  elif not name or name.startswith("/") or ".." in name.split("/"):
    unsafe = f"its path {name!r} leads out of the archive"
  return Member(name, start + member.offset_data, member.size, unsafe)


def _read_payload(window: _Window, member: tarfile.TarInfo, name: str) -> bytes:
  if member.size > _MAX_STREAMED:
    raise errors.IntegrityError(
      f"{name}: {member.name!a} has {member.size} bytes, expected at most {_MAX_STREAMED}; {_CURE}"
    )
  padded = -(-member.size // _BLOCK) * _BLOCK  # to the next header, so that tarfile need not seek
  data = window.read_on(padded)
  if len(data) != padded:
    raise errors.IntegrityError(
      f"{name} ends inside {member.name!a}, {len(data)} of {member.size} bytes; {_CURE}"
    )
  return data[: member.size]
