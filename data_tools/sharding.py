"""Where an image goes: its shard, its place in the shard and the file's name.

All of it follows from the image's id alone, so the bytes written do not depend on the runner, on
the number of workers or on retries, and adding images moves no other one to another shard.
"""

import hashlib

HASH_RANGE = 1 << 64


def hash_id(id_: str, purpose: str) -> int:
  """Returns a stable hash of an id in [0, `HASH_RANGE`): the first 8 bytes of SHA-256, big-endian.

  Args:
    id_: the image's id.
    purpose: keeps decisions apart that must not be correlated, such as the shard and the split.
  """
  digest = hashlib.sha256(f"{purpose}\0{id_}".encode()).digest()
  return int.from_bytes(digest[:8], "big")


def choose_shard(id_: str, shards: int) -> int:
  """Returns the index of the shard, in [0, shards), that holds the image."""
  return hash_id(id_, "shard") % shards


def order(id_: str) -> tuple[int, str]:
  """Returns the sort key of an image in its shard: its hash, then its id.

  By hash and not by id, so a reader that goes straight through a file meets the classes mixed.
  """
  return hash_id(id_, "order"), id_


def shard_path(scale: int, split: str, index: int, shards: int) -> str:
  """Returns a shard's path below the data set's folder, with "/" between its parts."""
  return f"{scale_folder(scale)}/{split}-{index:05d}-of-{shards:05d}"


def scale_folder(scale: int) -> str:
  """Returns the folder of one scale's shards."""
  return f"scale_{scale}"
