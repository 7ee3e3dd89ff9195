"""Layouts, labels and splits; no file is lost, and no file moves when others come."""

import argparse
import os
import shutil
from collections import Counter

import pytest

from data_tools.sources import folder
from tests.data_tools import bucket
from vggtf import errors


def open_source(root, *flags):
  parser = argparse.ArgumentParser()
  folder.add_flags(parser)
  return folder.open_source(parser.parse_args([f"--input={root}", *flags]))


def list_all(source):
  return sorted(
    (item for root in source.roots() for item in source.list_items(root)), key=lambda i: i.id
  )


@pytest.fixture
def tree(tmp_path, write_files):
  names = ("train/b/1.jpg", "train/a/2.jpg", "train/a/deep/er/3.jpg", "validation/a/1.jpg")
  files = {name: name.encode() for name in names}
  return write_files(tmp_path / "in", files)


@pytest.mark.parametrize("name", ["validation", "val"])
def test_train_and_validation(tree, name):
  os.rename(tree / "validation", tree / name)
  source = open_source(tree)
  assert sorted(source.splits()) == ["train", "validation"]
  assert source.classes() == (("a", "a"), ("b", "b"))
  assert [(i.id, i.split, i.label) for i in list_all(source)] == [
    ("train/a/2.jpg", "train", 0),
    ("train/a/deep/er/3.jpg", "train", 0),
    ("train/b/1.jpg", "train", 1),
    (f"{name}/a/1.jpg", "validation", 0),
  ]
  assert [source.read(item) for item in list_all(source)][2] == b"train/b/1.jpg"


def test_class_folders_alone_are_all_training(tree):
  source = open_source(tree / "train")
  assert source.splits() == ["train"]
  assert {item.id for item in list_all(source)} == {"a/2.jpg", "a/deep/er/3.jpg", "b/1.jpg"}
  assert {item.split for item in list_all(source)} == {"train"}


def split_of(root, *flags):
  source = open_source(root, "--validation_fraction=0.25", *flags)
  assert source.splits() == ["train", "validation"]
  return {item.id: item.split for item in list_all(source)}


def test_fraction_is_held_out_by_id(tmp_path, write_files):
  write_files(tmp_path, {f"c{at % 3}/{at}.jpg": b"" for at in range(800)})
  before = split_of(tmp_path)
  held_out = sum(split == "validation" for split in before.values())
  assert abs(held_out - 200) < 50
  write_files(tmp_path, {f"c{at % 3}/new{at}.jpg": b"" for at in range(300)})
  after = split_of(tmp_path)
  assert {id_: after[id_] for id_ in before} == before
  assert split_of(tmp_path, "--seed=1") != after


def test_hidden_files_are_not_listed(tree, write_files):
  write_files(
    tree, {"train/a/.DS_Store": b"", "train/.git/x": b"", ".hidden/x": b"", "README": b""}
  )
  assert len(list_all(open_source(tree))) == 4


def test_files_without_a_class_are_refused(tree, write_files):
  write_files(tree, {"train/astray.jpg": b""})
  refused = [item for item in list_all(open_source(tree)) if item.refused]
  assert [(item.id, item.refused[0]) for item in refused] == [("train/astray.jpg", "no_class")]


def test_links_are_followed_and_broken_ones_refused(tree):
  os.symlink(tree / "train" / "b", tree / "train" / "c")
  os.symlink(tree / "nowhere.jpg", tree / "train" / "a" / "broken.jpg")
  os.symlink("circle.jpg", tree / "train" / "a" / "circle.jpg")
  os.mkfifo(tree / "train" / "a" / "pipe.jpg")
  source = open_source(tree)
  items = {item.id: item for item in list_all(source)}
  assert source.read(items["train/c/1.jpg"]) == b"train/b/1.jpg"
  assert items["train/a/broken.jpg"].refused == ("not_a_file", "a link to nothing")
  assert items["train/a/circle.jpg"].refused == ("not_a_file", "a link to nothing")
  assert items["train/a/pipe.jpg"].refused == ("not_a_file", "a device, pipe or socket")


def test_link_to_its_own_folder_is_an_error(tree):
  os.symlink(tree / "train" / "a", tree / "train" / "a" / "again")
  with pytest.raises(errors.UsageError, match="again is a link to a folder that holds it"):
    list_all(open_source(tree))


def test_names_that_are_not_text_keep_their_bytes(tree):
  path = os.path.join(os.fsencode(tree), b"train", b"a", b"\xff.jpg")
  with open(path, "wb") as file:
    file.write(b"x")
  source = open_source(tree)
  items = {item.id: item for item in list_all(source)}
  assert source.read(items["train/a/\\xff.jpg"]) == b"x"


def test_class_text(tree, tmp_path):
  texts = tmp_path / "texts"
  texts.write_text("b\tsecond, of two\nz\tnobody\n\na first one\n")
  source = open_source(tree, f"--class_text={texts}")
  assert source.classes() == (("a", "first one"), ("b", "second, of two"))


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (b"a\tone\n", "lacks 1 of 2 classes: b"),
    (b"a\tone\na\ttwo\nb\tx\n", "line 2: second text for a"),
    (b"a\tone\nb\n", "line 2: no text in 'b'"),
    (b"a\t\xff\n", "not UTF-8"),
  ],
)
def test_wrong_class_text_is_refused(tree, tmp_path, content, said):
  texts = tmp_path / "texts"
  texts.write_bytes(content)
  with pytest.raises(errors.UsageError, match=said):
    open_source(tree, f"--class_text={texts}")


@pytest.mark.parametrize(
  ("files", "flags", "said"),
  [
    ((), (), "holds no class folders"),
    (("train/x.jpg",), (), "holds no class folders"),
    (("val/a/x.jpg",), (), "has val/ but no train/"),
    (("train/a/x", "test/a/x"), (), "also test, which would not be read"),
    (("train/a/x", "val/a/x", "validation/a/x"), (), "both val/ and validation/"),
    (("train/a/x", "val/b/x"), (), "1 classes that train/ lacks: b"),
    (("train/a/x", "val/a/x"), ("--validation_fraction=0.2",), "already has the folder val/"),
    (("a/x",), ("--validation_fraction=1.5",), "got 1.5, expected between 0 and 1"),
    (("a\nb/x",), (), "printable"),
    (("a/x",), ("--class_text=/nowhere/at/all",), "no such file"),
  ],
)
def test_layouts_that_are_not_understood(tmp_path, write_files, files, flags, said):
  root = tmp_path / "in"
  root.mkdir()
  write_files(root, dict.fromkeys(files, b""))
  with pytest.raises(errors.UsageError, match=said):
    open_source(root, *flags)


def test_missing_input_is_named(tmp_path):
  with pytest.raises(errors.UsageError, match="no such folder"):
    open_source(tmp_path / "nowhere")


def count(source) -> Counter:
  return Counter((i.split, i.label) for i in list_all(source) if not i.refused)


def test_a_class_without_training_images_is_named(tree, write_files):
  source = open_source(tree)
  source.check_counts(count(source))
  (tree / "train" / "c").mkdir()
  write_files(tree, {"validation/c/1.jpg": b""})
  source = open_source(tree)
  with pytest.raises(errors.UsageError, match="1 of 3 classes have no training image: c;"):
    source.check_counts(count(source))


def test_validation_images_alone_are_enough(tmp_path, write_files):
  write_files(tmp_path, {"validation/a/1.jpg": b""})
  for key in "ab":
    (tmp_path / "train" / key).mkdir(parents=True)
  source = open_source(tmp_path)
  source.check_counts(count(source))


@pytest.fixture
def in_bucket(tmp_path, monkeypatch):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path / "buckets")
  return lambda local: (
    shutil.copytree(local, tmp_path / "buckets" / "photos" / "set") and "bucket://photos/set"
  )


def without_locators(source):
  return [(i.id, i.split, i.label, i.origin, i.refused) for i in list_all(source)]


@pytest.mark.parametrize(("below", "flags"), [("", ()), ("train", ("--validation_fraction=0.5",))])
def test_a_bucket_is_listed_as_a_folder_is(tree, write_files, in_bucket, below, flags):
  write_files(tree, {"train/a/.hidden": b"", "train/.x/1.jpg": b"", "train/a/\u00e9.jpg": b"e"})
  write_files(tree, {"README": b"", "train/astray.jpg": b""})
  local = open_source(tree / below, *flags)
  remote = open_source(f"{in_bucket(tree / below)}/", *flags)
  assert without_locators(remote) == without_locators(local)
  assert len(list_all(remote)) == (6 if not below else 5)
  for ask in ("splits", "classes", "describe"):
    assert getattr(remote, ask)() == getattr(local, ask)()
  read = [[s.read(i) for i in list_all(s) if not i.refused] for s in (local, remote)]
  assert read[0] == read[1]


def test_a_bucket_without_the_folder(in_bucket, tree):
  in_bucket(tree)
  with pytest.raises(errors.UsageError, match="no such folder"):
    open_source("bucket://photos/other")
  with pytest.raises(errors.UsageError, match="holds no class folders"):
    open_source("bucket://photos/set/train/a/deep/er")


def test_a_file_that_went_from_a_bucket_is_unreadable(in_bucket, tree):
  source = open_source(in_bucket(tree))
  item = list_all(source)[0]
  os.remove(bucket.Bucket.root / "photos" / "set" / item.id)
  with pytest.raises(FileNotFoundError):
    source.read(item)


def test_description_holds_no_path(tree):
  assert open_source(tree).describe() == {"name": "folder"}
  described = open_source(tree / "train", "--validation_fraction=0.5", "--seed=3").describe()
  assert described == {"name": "folder", "validation_fraction": 0.5, "seed": 3}
