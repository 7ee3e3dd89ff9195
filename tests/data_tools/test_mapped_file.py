"""The same bytes, wherever the file is."""

import mmap

import pytest

from data_tools.mapped_file import open_mapped
from tests.data_tools import bucket


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)) * 40])
def test_file_here_and_in_a_bucket_gives_its_bytes(tmp_path, monkeypatch, data):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path)
  (tmp_path / "b").mkdir()
  (tmp_path / "b" / "a").write_bytes(data)
  for path in (str(tmp_path / "b" / "a"), f"{bucket.SCHEME}://b/a"):
    with open_mapped(path) as buffer:
      assert len(buffer) == len(data)
      assert buffer[:] == data


def test_file_here_is_mapped_and_not_read(tmp_path):
  (tmp_path / "a").write_bytes(b"abc")
  with open_mapped(str(tmp_path / "a")) as buffer:
    assert isinstance(buffer, mmap.mmap)
  assert buffer.closed


def test_missing_file_is_an_error(tmp_path, monkeypatch):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path)
  for path in (str(tmp_path / "a"), f"{bucket.SCHEME}://b/a"):
    with pytest.raises(FileNotFoundError), open_mapped(path):
      pass
