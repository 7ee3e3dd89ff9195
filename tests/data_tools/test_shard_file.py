"""A shard has its final name when it is whole, and not before."""

import hashlib
import os

import pytest

from data_tools import shard_file
from data_tools.shard_file import ShardFile
from vggtf import errors, manifest, records

PATH = "scale_32/train-00000-of-00001"


def test_committed_file_is_what_the_manifest_says(tmp_path):
  file = ShardFile(str(tmp_path), PATH)
  file.write(b"one")
  file.write(b"")
  assert not (tmp_path / PATH).exists()
  entry = file.commit()
  file.discard()  # as a cleaning-up always does
  content = (tmp_path / PATH).read_bytes()
  assert content == records.frame(b"one") + records.frame(b"")
  assert entry == manifest.Shard(PATH, 2, len(content), hashlib.sha256(content).hexdigest())
  assert os.listdir(tmp_path / "scale_32") == ["train-00000-of-00001"]


def test_empty_shard_is_an_empty_file(tmp_path):
  entry = ShardFile(str(tmp_path), PATH).commit()
  assert (tmp_path / PATH).read_bytes() == b""
  assert (entry.records, entry.bytes, entry.sha256) == (0, 0, hashlib.sha256().hexdigest())


def test_discarded_file_leaves_nothing(tmp_path):
  file = ShardFile(str(tmp_path), PATH)
  file.write(b"one")
  file.discard()
  assert os.listdir(tmp_path / "scale_32") == []


def test_two_attempts_do_not_meet(tmp_path):
  first, second = ShardFile(str(tmp_path), PATH), ShardFile(str(tmp_path), PATH)
  first.write(b"same")
  second.write(b"same")
  assert first.commit() == second.commit()
  assert (tmp_path / PATH).read_bytes() == records.frame(b"same")


@pytest.mark.parametrize("name", ["set", "set.tmp-1"])
def test_orphans_are_removed(tmp_path, name):
  folder = tmp_path / name
  ShardFile(str(folder), PATH).commit()
  orphan = ShardFile(str(folder), PATH)  # of a worker that died
  shard_file.remove_orphans(str(folder))
  assert os.listdir(folder / "scale_32") == ["train-00000-of-00001"]
  orphan.discard()


def test_disk_errors_name_the_file_and_the_cure(tmp_path, monkeypatch):
  file = ShardFile(str(tmp_path), PATH)
  file.write(b"one")

  def refuse(_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "fsync", refuse)
  with pytest.raises(errors.EnvironmentFault, match=r"train-00000-of-00001: No space.*bytes free"):
    file.commit()
  file.discard()
  assert os.listdir(tmp_path / "scale_32") == []


def test_unwritable_folder_is_named(tmp_path):
  (tmp_path / "scale_32").write_text("a file where the folder should be")
  with pytest.raises(errors.EnvironmentFault, match="cannot write"):
    ShardFile(str(tmp_path), PATH)
