"""One set of functions for a local folder and a bucket: the same results, the same errors."""

import io
import os
import sys
import types

import pytest

from data_tools import storage
from tests.data_tools.bucket import Bucket
from vggtf import errors


@pytest.fixture(params=["local", "bucket"])
def folder(request, tmp_path, monkeypatch) -> str:
  monkeypatch.setattr(Bucket, "root", tmp_path)
  return str(tmp_path / "data") if request.param == "local" else "bucket://data"


def test_written_files_are_listed_and_read(folder):
  for name, data in (("b/c.bin", b"123"), ("a", b""), ("b/a", b"1")):
    storage.write_file(storage.join(folder, name), data)
  assert list(storage.list_files(folder)) == [("a", 0), ("b/a", 1), ("b/c.bin", 3)]
  path = storage.join(folder, "b/c.bin")
  assert storage.read_file(path) == b"123"
  assert storage.get_size(path) == 3
  assert storage.is_file(path)
  assert storage.is_folder(storage.join(folder, "b"))
  with storage.open_file(path) as file:
    file.seek(1)
    assert file.read(1) == b"2"


def test_ranges_are_read(folder):
  path = storage.join(folder, "a")
  storage.write_file(path, b"0123456789")
  assert storage.read_range(path, 3, 4) == b"3456"
  assert storage.read_range(path, 8, 4) == b"89"
  with pytest.raises(FileNotFoundError):
    storage.read_range(storage.join(folder, "b"), 0, 1)


def test_range_of_a_google_bucket_fetches_no_more(monkeypatch):
  """Beam's own buffer is 16 MiB; this is its client's documented argument, without a network."""
  asked = []

  class Client:
    def open(self, path, read_buffer_size):
      asked.append((path, read_buffer_size))
      return io.BytesIO(b"0123456789")

  monkeypatch.setitem(sys.modules, "apache_beam.io.gcp.gcsio", types.SimpleNamespace(GcsIO=Client))
  storage._make_gcs_client.cache_clear()
  assert storage.read_range("gs://bucket/a.tar", 2, 3) == b"234"
  assert asked == [("gs://bucket/a.tar", 3)]
  storage._make_gcs_client.cache_clear()


def test_writing_again_replaces(folder):
  path = storage.join(folder, "a")
  storage.write_file(path, b"old")
  storage.write_file(path, b"new")
  assert storage.read_file(path) == b"new"
  assert list(storage.list_files(folder)) == [("a", 3)]


def test_what_is_missing_is_missing(folder):
  storage.write_file(storage.join(folder, "a"), b"")
  path = storage.join(folder, "b")
  assert not storage.is_file(path)
  assert not storage.is_folder(path)
  for read in (storage.read_file, storage.get_size):
    with pytest.raises(FileNotFoundError):
      read(path)
  storage.remove_files([path, storage.join(folder, "a")])
  assert list(storage.list_files(folder)) == []
  storage.remove_empty_folder(path)


def test_unfinished_file_has_not_its_name(folder):
  final = storage.join(folder, "a")
  temporary = f"{final}{storage.TEMPORARY_MARK}1"
  file = storage.create_file(temporary)
  file.write(b"half")
  assert not storage.is_file(final)
  storage.publish_file(file, temporary, final)
  assert list(storage.list_files(folder)) == [("a", 4)]


def test_full_disk_leaves_nothing(tmp_path, monkeypatch):
  def refuse(_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "fsync", refuse)
  with pytest.raises(errors.EnvironmentFault, match=r"b\.json: No space left"):
    storage.write_file(str(tmp_path / "b.json"), b"x")
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
  ("path", "cure"),
  [("hdfs://host/file", r"apache-beam\[hadoop\]"), ("ftp://host/file", "copy it to a local disk")],
)
@pytest.mark.parametrize("use", [storage.read_file, storage.get_size, storage.is_folder])
def test_unknown_scheme_names_the_cure(use, path, cure):
  with pytest.raises(errors.EnvironmentFault, match=f"no filesystem for .*{cure}"):
    use(path)


def test_absolute_paths(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert storage.absolute("x/") == str(tmp_path / "x")
  assert storage.absolute("gs://bucket/x/") == "gs://bucket/x"


def test_path_below_a_file_is_no_file(tmp_path):
  (tmp_path / "file").touch()
  assert not storage.is_file(str(tmp_path / "file" / "x"))


def test_link_to_nothing_is_listed(tmp_path):
  (tmp_path / "link").symlink_to("nowhere")
  assert list(storage.list_files(str(tmp_path))) == [("link", 0)]
