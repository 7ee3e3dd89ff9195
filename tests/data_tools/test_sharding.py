"""The hash is pinned: another one would move every image of every data set."""

import hashlib
import itertools
from collections import Counter

from data_tools import sharding

IDS = [f"train/n{at % 10:03d}/{at}.JPEG" for at in range(4000)]


def test_hash_is_the_documented_one():
  assert sharding.hash_id("train/a.jpg", "shard") == int(
    hashlib.sha256(b"shard\0train/a.jpg").hexdigest()[:16], 16
  )
  assert sharding.hash_id("", "") == 0x6E340B9CFFB37A98


def test_shards_are_even():
  counts = Counter(sharding.choose_shard(id_, 8) for id_ in IDS)
  assert sorted(counts) == list(range(8))
  expected = len(IDS) / 8
  assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_order_mixes_the_classes():
  classes = [id_.split("/")[1] for id_ in sorted(IDS, key=sharding.order)]
  repeats = sum(a == b for a, b in itertools.pairwise(classes))
  assert abs(repeats / len(IDS) - 0.1) < 0.03  # as in a shuffled list of ten classes


def test_purposes_are_not_correlated():
  in_first_half = [id_ for id_ in IDS if sharding.hash_id(id_, "split 0") < 1 << 63]
  counts = Counter(sharding.choose_shard(id_, 4) for id_ in in_first_half)
  assert all(abs(count - len(in_first_half) / 4) < 110 for count in counts.values())


def test_names_are_those_of_tensorflow():
  assert sharding.shard_path(256, "train", 7, 1024) == "scale_256/train-00007-of-01024"
