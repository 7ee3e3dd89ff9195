"""A part comes back as it was, and only if its files are whole and it is of this conversion."""

import hashlib
import os

import pytest

from data_tools import parts
from data_tools.inputs import InputSum
from data_tools.statistics import Moments
from vggtf import errors, manifest

DATA = {"scale_32/train-00001-of-00002": b"one", "scale_40/train-00001-of-00002": b"two"}


@pytest.fixture
def result():
  return parts.ShardResult(
    split="train",
    index=1,
    files=tuple(
      manifest.Shard(path, 3, len(data), hashlib.sha256(data).hexdigest())
      for path, data in DATA.items()
    ),
    class_counts=((0, 2), (3, 1)),
    moments=Moments(2**70, (1, 2, 3), (1, 2, 3, 4, 5, 6)),
    notes=(parts.Note("a", "train", "b", "image", "empty", "0 bytes"),),
    inputs=InputSum(4, 10**12, 2**255 + 1),
    contents="0123456789abcdef",
    boxed=1,
    boxes=2,
  )


@pytest.fixture
def folder(tmp_path, write_files, result) -> str:
  write_files(tmp_path, DATA)
  parts.save(str(tmp_path), 2, result)
  return str(tmp_path)


def load(folder):
  return parts.load(folder, "train", 1, 2)


def test_part_comes_back_as_it_was(folder, result):
  assert parts.exist(folder)
  assert load(folder) == result


def test_other_shard_has_none(folder):
  assert parts.load(folder, "train", 0, 2) is None


@pytest.mark.parametrize("damage", [b"", b"onE", b"ones", None])
@pytest.mark.parametrize("path", DATA)
def test_damaged_file_makes_it_void(folder, path, damage):
  file = os.path.join(folder, path)
  if damage is None:
    os.remove(file)
  else:
    with open(file, "wb") as opened:
      opened.write(damage)
  assert (load(folder) is None) == (damage != DATA[path])


def test_removing_leaves_the_data(folder):
  parts.claim(folder, {})
  parts.remove(folder)
  assert sorted(os.listdir(folder)) == ["scale_32", "scale_40"]
  assert not parts.exist(folder)


def test_parts_of_who_knows_what_are_void(folder):
  parts.claim(folder, {"options": {"quality": 95}})  # a kill came when all were being removed
  assert load(folder) is None


def test_conversion_goes_on_with_what_it_was_begun_with(tmp_path):
  begun = {"options": {"scales": [256], "quality": 95}, "source": {"name": "folder"}}
  parts.claim(str(tmp_path), begun)
  parts.claim(str(tmp_path), dict(reversed(begun.items())))
  changed = begun | {"options": {"scales": [256, 384], "quality": 95}}
  with pytest.raises(
    errors.UsageError, match=r"begun with options\.scales = \[256\], now it is \[256, 384\]"
  ):
    parts.claim(str(tmp_path), changed)
  with pytest.raises(errors.UsageError, match=r"source\.seed = None, now it is 1"):
    parts.claim(str(tmp_path), begun | {"source": {"name": "folder", "seed": 1}})
