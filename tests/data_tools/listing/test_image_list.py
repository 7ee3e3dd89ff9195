"""Lists of images: every bad line is named, and what is listed is what a folder would give."""

import argparse
import os
import re
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
  return sorted((i for root in source.roots() for i in source.list_items(root)), key=lambda i: i.id)


@pytest.fixture
def tree(tmp_path, write_files):
  names = ("train/b/1.jpg", "train/a/2.jpg", "train/a/deep/er/3.jpg")
  return write_files(tmp_path / "in", {name: name.encode() for name in names})


def open_csv(tree, content, *flags):
  path = tree / "list.csv"
  path.write_bytes(content.encode() if isinstance(content, str) else content)
  return open_source(tree, f"--csv={path}", *flags)


def test_csv(tree):
  source = open_csv(
    tree,
    "\ufeffpath,label,split\r\ntrain/b/1.jpg,zebra,\r\n\r\n"
    '"train/a/2.jpg","ox, black",test\r\n./train//a/deep/er/3.jpg,\u00e9mu,val\r\n'
    "none.jpg,zebra,train",
  )
  assert source.splits() == ["train", "test", "validation"]
  assert source.classes() == (
    ("ox, black", "ox, black"),
    ("zebra", "zebra"),
    ("\u00e9mu", "\u00e9mu"),
  )
  items = list_all(source)
  assert [(i.id, i.split, i.label, i.origin) for i in items] == [
    ("none.jpg", "train", 1, "none.jpg, line 6"),
    ("train/a/2.jpg", "test", 0, "train/a/2.jpg, line 4"),
    ("train/a/deep/er/3.jpg", "validation", 2, "train/a/deep/er/3.jpg, line 5"),
    ("train/b/1.jpg", "train", 1, "train/b/1.jpg, line 2"),
  ]
  assert source.read(items[2]) == b"train/a/deep/er/3.jpg"
  with pytest.raises(FileNotFoundError):
    source.read(items[0])
  with pytest.raises(errors.UsageError, match="2 of 3 classes have no training image: ox, black"):
    source.check_counts(Counter((i.split, i.label) for i in items))


def test_csv_and_its_images_in_a_bucket(tree, tmp_path, monkeypatch):
  local = open_csv(tree, "label,path\na,train/a/2.jpg\n", "--validation_fraction=0.5")
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path / "buckets")
  shutil.copytree(tree, tmp_path / "buckets" / "photos" / "set")
  root = "bucket://photos/set"
  remote = open_source(root, f"--csv={root}/list.csv", "--validation_fraction=0.5")
  assert list_all(remote) == list_all(local)
  assert remote.describe() == local.describe()
  assert remote.read(list_all(remote)[0]) == b"train/a/2.jpg"
  os.remove(bucket.Bucket.root / "photos" / "set" / "train" / "a" / "2.jpg")
  with pytest.raises(FileNotFoundError):
    remote.read(list_all(remote)[0])


def test_csv_without_splits_is_held_out_as_a_folder_is(tmp_path, write_files):
  names = [f"c{at % 3}/{at}.jpg" for at in range(200)]
  write_files(tmp_path, dict.fromkeys(names, b""))
  rows = "".join(f"{name},{name[:2]}\n" for name in names)
  flags = ("--validation_fraction=0.25", "--seed=4")
  listed = open_csv(tmp_path, f"path,label\n{rows}", *flags)
  found = {(i.id, i.split, i.label) for i in list_all(listed)}
  assert found == {
    (i.id, i.split, i.label) for i in list_all(open_source(tmp_path, *flags)) if not i.refused
  }
  assert {split for _, split, _ in found} == {"train", "validation"}


def test_csv_that_changes_meanwhile(tree):
  source = open_csv(tree, "path,label\ntrain/b/1.jpg,b\n")
  (tree / "list.csv").write_text("path,label\ntrain/b/1.jpg,c\n")
  with pytest.raises(errors.IntegrityError, match="has changed"):
    list_all(source)


@pytest.mark.parametrize(
  ("content", "flags", "said"),
  [
    ("", (), "line 1: got the columns none; expected path,label"),
    ("a.jpg,cat\n", (), "got the columns a.jpg, cat; expected"),
    ("path\n", (), "got the columns path; expected"),
    ("path,label,weight\n", (), "got the columns path, label, weight; expected"),
    ("path,label,label\n", (), "got the columns path, label, label; expected"),
    ("path,label\n", (), "lists no images"),
    (b"path,label\n\xff,a\n", (), "not UTF-8"),
    ('path,label\na,"b\n', (), "line 2: unexpected end of data"),
    ('path,label\na,"b"c\n', (), "line 2: "),
    ('path,"label\n', (), "line 1: unexpected end of data"),
    ("path,label\na,b\na\na,b,c\n", (), "2 bad lines: 3 (1 fields for 2 columns), 4 (3 fields"),
    ("path,label\n,b\n.,b\n", (), "2 (the path is no printable text), 3 (the path is no print"),
    ("path,label\n/etc/x,b\na/../../x,b\n", (), "2 (the path leaves --input), 3 (the path leaves"),
    ("path,label\ngs://x/y,b\n..,c\n", (), "2 bad lines: 2 (the path leaves"),
    ("path,label\na\0,b\n", (), "2 (the path is no printable text)"),
    ('path,label\na, \nb,"c\nd"\n', (), "2 (the label is no printable text), 4 (the label is no"),
    ("path,label,split\na,b,Train 1\n", (), "2 (the split 'Train 1' is no name such as train)"),
    ("path,label\n" + "a\n" * 25, (), "21 (1 fields for 2 columns) and 5 more"),
    ("path,label,split\na,b,\n", ("--validation_fraction=0.1",), "list.csv has the column split"),
    ("path,label\na,b\n", ("--validation_fraction=7",), "got 7.0, expected between 0 and 1"),
    ("path,label\na,b\n", ("--class_text=/nowhere/at/all",), "no such file"),
  ],
)
def test_a_wrong_csv_is_refused(tree, content, flags, said):
  with pytest.raises(errors.UsageError, match=re.escape(said)) as caught:
    open_csv(tree, content, *flags)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.csv", "train", "train/b/1.jpg/x"])
@pytest.mark.parametrize("flag", ["csv", "class_text"])
def test_a_missing_file_is_named(tree, flag, name):
  (tree / "list.csv").write_text("path,label\ntrain/b/1.jpg,a")
  flags = {"csv": tree / "list.csv"} | {flag: tree / name}
  with pytest.raises(errors.UsageError, match=f"--{flag}=.*{name}: no such file"):
    open_source(tree, *(f"--{flag}={path}" for flag, path in flags.items()))
