"""What goes into a shard: its images' bytes, and a sum that tells whether it is still the same.

The sum is of the bytes, not of sizes and times of files: these differ in a copy of the same input,
may be equal in another one, and not every source has them. From a disk, reading and hashing take a
hundredth of the time of converting.
"""

import contextlib
import dataclasses
import errno
import hashlib

from data_tools import pixels, storage
from data_tools.members import Members
from data_tools.source import Item, Source
from vggtf import errors

_MODULUS = 1 << 256
_ABOUT_ONE_FILE = (*storage.NO_FILE, PermissionError)
_ABOUT_ONE_NAME = (errno.ENAMETOOLONG, errno.ELOOP)


@dataclasses.dataclass
class InputSum:
  """What went into a shard, or into several.

  Attributes:
    images: listed, whatever became of them.
    bytes: of the images that were read.
    digest: sum of the hashes of all that was listed, and of id and bytes of each image that was
      read, modulo 2^256.
  """

  images: int = 0
  bytes: int = 0
  digest: int = 0

  def __add__(self, other: "InputSum") -> "InputSum":
    """Returns the sum of both."""
    digest = (self.digest + other.digest) % _MODULUS
    return InputSum(self.images + other.images, self.bytes + other.bytes, digest)

  def describe(self) -> dict:
    """Returns the attributes as JSON values, `digest` in hex."""
    return {"images": self.images, "bytes": self.bytes, "digest": f"{self.digest:064x}"}

  def add(self, item: Item, data: bytes) -> bytes:
    """Takes in what was read of an image; returns the sha256 of `data`."""
    content = hashlib.sha256(data).digest()
    known = hashlib.sha256(f"{item.id}\0".encode() + content).digest()
    self.bytes += len(data)
    self.digest = (self.digest + int.from_bytes(known, "big")) % _MODULUS
    return content


def begin(members: Members) -> InputSum:
  """Returns the sum of what was listed, before any image is read."""
  return InputSum(images=len(members.items), digest=members.digest() % _MODULUS)


def read(item: Item, source: Source) -> bytes:
  """Returns the bytes of an image.

  Raises:
    Refused: it cannot be had, for a reason that is its own.
    EnvironmentFault: reading failed for another reason.
  """
  if item.refused:
    raise pixels.Refused(*item.refused)
  try:
    return source.read(item)
  except OSError as error:
    if isinstance(error, _ABOUT_ONE_FILE) or error.errno in _ABOUT_ONE_NAME:
      raise pixels.Refused("unreadable", str(error.strerror)) from None
    raise errors.EnvironmentFault(
      f"cannot read {item.origin}: {error.strerror}; check the disk or the network and run again"
    ) from error


def sum_up(members: Members, source: Source) -> InputSum:
  """Reads all images that a conversion would read, and only sums them up."""
  total = begin(members)
  for item in members.items:
    if not item.left_out:
      with contextlib.suppress(pixels.Refused):
        total.add(item, read(item, source))
  return total
