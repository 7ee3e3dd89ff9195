"""Folders in a bucket are told from names alone."""

from data_tools import storage
from data_tools.listing import tree

NAMES = ("README", "train/", "train/a/1.jpg", "train/b/", "train/b/c/2.jpg", "other/3.jpg")


def test_names_of_a_bucket(monkeypatch):
  # Google's console makes an empty object "train/" to show a folder.
  monkeypatch.setattr(storage, "list_files", lambda folder: iter((name, 0) for name in NAMES))
  assert tree.find_folders("gs://bucket", ("train", "validation")) == {
    "": ["other", "train"],
    "train": ["a", "b"],
  }
  assert [path for path, _ in tree.list_files("gs://bucket", "")] == [
    "README",
    "train/a/1.jpg",
    "train/b/c/2.jpg",
    "other/3.jpg",
  ]


def test_folders_here(tmp_path, write_files):
  write_files(tmp_path, {name: b"" for name in NAMES if not name.endswith("/")})
  assert tree.find_folders(str(tmp_path), ("train", "validation")) == {
    "": ["other", "train"],
    "train": ["a", "b"],
  }
