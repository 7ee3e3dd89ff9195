"""The archives' MD5 sums, as their publisher states them."""

import hashlib
import sys
import time

from data_tools import storage
from vggtf import errors

KNOWN = {
  "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
  "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
  "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
}
_CHUNK = 1 << 22
_SECONDS = 5  # between two lines of progress


def verify(paths: dict[str, str]):
  """Reads archives to their ends, telling of it on stderr.

  Args:
    paths: of archives, by their names; those that are not in `KNOWN` are left out.

  Raises:
    UsageError: none of them is known.
    IntegrityError: a sum differs; the message names both.
  """
  known = {name: path for name, path in paths.items() if name in KNOWN}
  if not known:
    raise errors.UsageError(
      f"--verify_md5: none of {', '.join(KNOWN)} is in use; leave the flag out"
    )
  for name, path in known.items():
    found = _sum(name, path)
    if found != KNOWN[name]:
      raise errors.IntegrityError(
        f"{name}: its MD5 is {found}, expected {KNOWN[name]}: it is damaged, incomplete or another "
        "archive; get it again"
      )


def _sum(name: str, path: str) -> str:
  size = storage.get_size(path)
  digest, done, told = hashlib.md5(usedforsecurity=False), 0, 0.0
  with storage.open_file(path) as file:
    while chunk := file.read(_CHUNK):
      digest.update(chunk)
      done += len(chunk)
      if time.monotonic() - told > _SECONDS or done == size:
        told = time.monotonic()
        print(f"convert: MD5 of {name}: {done / 1e9:.1f} of {size / 1e9:.1f} GB", file=sys.stderr)
  return digest.hexdigest()
