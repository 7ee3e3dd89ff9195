"""The paper's random splits: exact counts per class, three seeds, nothing lost."""

import argparse
import hashlib
import shutil
import subprocess
from collections import Counter

import pytest

from data_tools import convert
from data_tools.sources import caltech
from tests.data_tools import bucket
from vggtf import errors

SIZES_101 = {"BACKGROUND_Google": 467, "accordion": 55, "car_side": 123, "inline_skate": 31}
SIZES_256 = {"001.ak47": 98, "056.dog": 103, "198.spider": 108, "257.clutter": 827}


def open_source(root, *flags):
  parser = argparse.ArgumentParser()
  caltech.add_flags(parser)
  return caltech.open_source(parser.parse_args([f"--input={root}", *flags]))


def list_all(source):
  return sorted((i for root in source.roots() for i in source.list_items(root)), key=lambda i: i.id)


def count(items) -> Counter:
  return Counter((i.split, i.label) for i in items if not i.refused and not i.left_out)


def make(folder, sizes, name_of):
  for key, size in sizes.items():
    (folder / key).mkdir(parents=True)
    for at in range(1, size + 1):
      (folder / key / name_of(key, at)).write_bytes(f"{key} {at}".encode())
  return folder


@pytest.fixture(scope="module")
def caltech101(tmp_path_factory):
  folder = tmp_path_factory.mktemp("caltech101") / "101_ObjectCategories"
  return make(folder, SIZES_101, lambda _, at: f"image_{at:04d}.jpg")


@pytest.fixture(scope="module")
def caltech256(tmp_path_factory):
  folder = tmp_path_factory.mktemp("caltech256") / "256_ObjectCategories"
  make(folder, SIZES_256, lambda key, at: f"{key[:3]}_{at:04d}.jpg")
  (folder / "056.dog" / "greg").mkdir()  # both lie in the real archive
  (folder / "056.dog" / "greg" / "056_0001.jpg").write_bytes(b"")
  (folder / "198.spider" / "RENAME2").write_bytes(b"")
  return folder


def test_caltech_101(caltech101):
  source = open_source(caltech101)
  items = list_all(source)
  assert len({item.id for item in items}) == len(items) == sum(SIZES_101.values())
  assert source.splits() == ["train", "test"]
  assert source.classes() == [
    ("BACKGROUND_Google", "BACKGROUND Google"),
    ("accordion", "accordion"),
    ("car_side", "car side"),
    ("inline_skate", "inline skate"),
  ]
  # 30 of each class train, at most 50 others test: 467, 55, 123 and 31 images.
  assert count(items) == {
    **{("train", label): 30 for label in range(4)},
    ("test", 0): 50,
    ("test", 1): 25,
    ("test", 2): 50,
    ("test", 3): 1,
  }
  source.check_counts(count(items))
  left_out = Counter((i.label, i.left_out[0]) for i in items if i.left_out)
  assert left_out == {(0, "not_drawn"): 467 - 80, (2, "not_drawn"): 123 - 80}
  assert {source.read(i).decode() for i in items} == {
    f"{key} {at}" for key, size in SIZES_101.items() for at in range(1, size + 1)
  }


def test_caltech_256(caltech256):
  source = open_source(caltech256.parent)  # the folder that the archive is unpacked to
  items = list_all(source)
  assert [text for _, text in source.classes()] == ["ak47", "dog", "spider", "clutter"]
  assert count(items) == {
    **{("train", label): 60 for label in range(4)},
    **{("test", label): size - 60 for label, size in enumerate(SIZES_256.values())},
  }
  assert {i.id: i.left_out[0] for i in items if i.left_out} == {
    "056.dog/greg/056_0001.jpg": "not_in_set",
    "198.spider/RENAME2": "not_in_set",
  }


def split_of(folder, *flags):
  items = list_all(open_source(folder, *flags))
  return {i.id: "left_out" if i.left_out else i.split for i in items}


def test_a_split_follows_from_ids_and_seed_alone(caltech101, tmp_path):
  splits = [split_of(caltech101, f"--split_seed={seed}") for seed in range(3)]
  assert splits[0] == split_of(caltech101)
  moved = shutil.copytree(caltech101 / "car_side", tmp_path / "moved" / "car_side")
  alone = split_of(moved.parent)
  assert alone == {id_: split for id_, split in splits[0].items() if id_.startswith("car_side/")}

  def rank(id_):
    return hashlib.sha256(f"caltech 0\0{id_}".encode()).digest()[:8]

  drawn = sorted(alone, key=rank)
  assert {id_ for id_, split in alone.items() if split == "train"} == set(drawn[:30])
  assert {id_ for id_, split in alone.items() if split == "test"} == set(drawn[30:80])
  # Independent draws of 30 out of 467 share 30 * 30 / 467 = 1.9 images on average.
  trained = [{i for i, s in split.items() if s == "train" and i[0] == "B"} for split in splits]
  for one, other in ((0, 1), (0, 2), (1, 2)):
    assert len(trained[one] & trained[other]) < 10


def test_numbers_can_be_chosen(caltech101):
  source = open_source(caltech101, "--train_per_class=5", "--test_per_class=all")
  items = list_all(source)
  assert count(items)["test", 0] == 467 - 5
  assert source.describe() == {
    "name": "caltech",
    "kind": 101,
    "train_per_class": 5,
    "test_per_class": "all",
    "split_seed": 0,
  }


def test_a_class_that_is_too_small(caltech101):
  source = open_source(caltech101, "--train_per_class=31")
  said = r"1 of 4 classes have fewer than 32 images.*: inline_skate \(31\);"
  with pytest.raises(errors.UsageError, match=said):
    source.check_counts(count(list_all(source)))


@pytest.mark.parametrize(
  ("files", "flags", "said"),
  [
    ((), (), "holds no class folders"),
    (("001.ak47/001_0001.jpg", "ibis/image_0001.jpg"), (), "001.ak47, .* and also ibis"),
    (("101_ObjectCategories/a/x", "256_ObjectCategories/001.a/x"), (), "give one of them"),
    (("a/x",), ("--train_per_class=0",), "got 0, expected 1 or more"),
    (("a/x",), ("--test_per_class=0",), "got '0', expected 1 or more, or all"),
    (("a/x",), ("--test_per_class=many",), "got 'many', expected 1 or more, or all"),
  ],
)
def test_what_is_not_understood(tmp_path, write_files, files, flags, said):
  write_files(tmp_path, dict.fromkeys(files, b""))
  with pytest.raises(errors.UsageError, match=said):
    open_source(tmp_path, *flags)


def test_missing_input_is_named(tmp_path):
  with pytest.raises(errors.UsageError, match="no such folder"):
    open_source(tmp_path / "nowhere")


def test_a_bucket_is_drawn_from_as_a_folder_is(caltech256, tmp_path, monkeypatch):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path)
  shutil.copytree(caltech256, tmp_path / "photos" / "256_ObjectCategories")
  remote, local = open_source("bucket://photos"), open_source(caltech256)
  assert list_all(remote) == list_all(local)
  assert remote.read(list_all(remote)[0]) == local.read(list_all(local)[0])


def test_real_photos(shared_data, tmp_path, read_manifest):
  subprocess.run(["tar", "xf", shared_data / "caltech20.tar", "-C", tmp_path], check=True)
  items = list_all(open_source(tmp_path / "caltech20"))
  assert count(items) == {(split, label): 30 for split in ("train", "test") for label in range(20)}

  flags = ["--train_per_class=2", "--test_per_class=1", "--scales=64", "--shards=train=1,test=1"]
  output = tmp_path / "out"
  input_ = f"--input={tmp_path / 'caltech20'}"
  assert convert.main(["--source=caltech", input_, f"--output={output}", *flags]) == 0
  content = read_manifest(output)
  assert content.splits == {"train": 40, "test": 20}
  assert content.class_counts == {"train": (2,) * 20, "test": (1,) * 20}
  assert content.left_out == {"not_drawn": 20 * 57}
