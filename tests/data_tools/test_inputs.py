"""What went into a shard is known by its bytes, in any order."""

import hashlib

from data_tools import inputs
from data_tools.inputs import InputSum
from data_tools.members import Members
from data_tools.source import Annotation, Item


class Memory:
  def __init__(self, files):
    self.read = lambda item: files[item.id]


FILES = {"a": b"one", "b": b"two", "c": b"three"}
LISTED = [*(Item(id_, "train", 0, id_, ()) for id_ in FILES), Annotation("a", "train", "a.xml")]


def sum_up(members=LISTED, files=FILES):
  return inputs.sum_up(Members(members), Memory(files))


def to_int(data):
  return int.from_bytes(hashlib.sha256(data).digest(), "big")


def test_digest_is_of_what_was_listed_and_read():
  by_hand = sum(to_int(repr(member).encode()) for member in LISTED)
  by_hand += sum(
    to_int(f"{id_}\0".encode() + hashlib.sha256(data).digest()) for id_, data in FILES.items()
  )
  assert sum_up() == InputSum(images=3, bytes=11, digest=by_hand % 2**256)


def test_order_and_shards_do_not_matter():
  assert sum_up(LISTED[::-1]) == sum_up()
  assert sum_up(LISTED[:1]) + sum_up(LISTED[1:]) == sum_up()


def test_other_bytes_of_the_same_names_and_sizes_are_noticed():
  assert sum_up(files=FILES | {"a": b"two", "b": b"one"}) != sum_up()


def test_description_is_what_the_manifest_takes():
  assert InputSum(1, 2, 3).describe() == {"images": 1, "bytes": 2, "digest": f"{3:064x}"}
