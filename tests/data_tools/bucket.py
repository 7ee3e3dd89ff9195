"""A bucket for tests: bucket://name/object, kept in the folder `Bucket.root`, as gs:// behaves.

There are no folders; an object appears when its file is closed; to rename is to copy and delete;
and that an object is missing is noticed by the first read, not by opening it.
"""

import functools
import io
import pathlib
import shutil

from apache_beam.io import filesystem

SCHEME = "bucket"


class NotFound(Exception):
  """What Google's client raises for a missing object; no OSError and no BeamIOError."""


class Bucket(filesystem.FileSystem):
  """Beam finds it by its scheme, once this module is imported; a test sets `root`."""

  root: pathlib.Path | None = None

  @classmethod
  def scheme(cls):
    return SCHEME

  def join(self, basepath, *paths):
    return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

  def split(self, path):
    head, _, tail = path.rpartition("/")
    return head, tail

  def has_dirs(self):
    return False

  def mkdirs(self, path):
    pass

  def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
    return _Upload(self._local(path))

  def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
    return io.BufferedReader(_Download(self._local(path)))

  def copy(self, source_file_names, destination_file_names):
    self._each("Copy", self._copy, zip(source_file_names, destination_file_names, strict=True))

  def rename(self, source_file_names, destination_file_names):
    self.copy(source_file_names, destination_file_names)
    self.delete(source_file_names)

  def delete(self, paths):
    self._each("Delete", lambda path: self._local(path).unlink(missing_ok=True), paths)

  def exists(self, path):
    return self._local(path).is_file()

  def metadata(self, path):
    if not self.exists(path):
      raise filesystem.BeamIOError("Metadata operation failed", {path: NotFound(path)})
    status = self._local(path).stat()
    return filesystem.FileMetadata(path, status.st_size, status.st_mtime)

  def size(self, path):
    return self.metadata(path).size_in_bytes

  def last_updated(self, path):
    return self.metadata(path).last_updated_in_seconds

  def checksum(self, path):
    return str(self.size(path))

  def _list(self, dir_or_prefix):
    for file in sorted(path for path in self.root.rglob("*") if path.is_file()):
      name = f"{SCHEME}://{file.relative_to(self.root).as_posix()}"
      if name.startswith(dir_or_prefix):
        yield self.metadata(name)

  def _local(self, path: str) -> pathlib.Path:
    return self.root / path.removeprefix(f"{SCHEME}://")

  def _copy(self, names: tuple[str, str]):
    source, destination = map(self._local, names)
    if not source.is_file():
      raise NotFound(names[0])
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, destination)

  def _each(self, what, do, names):
    failures = {}
    for name in names:
      try:
        do(name)
      except (OSError, NotFound) as error:
        failures[name] = error
    if failures:
      raise filesystem.BeamIOError(f"{what} operation failed", failures)


class _Upload(io.BytesIO):
  def __init__(self, path: pathlib.Path):
    super().__init__()
    self._path = path

  def close(self):
    if not self.closed:
      self._path.parent.mkdir(parents=True, exist_ok=True)
      self._path.write_bytes(self.getbuffer())
    super().close()


class _Download(io.RawIOBase):
  def __init__(self, path: pathlib.Path):
    self._path = path

  def readable(self):
    return True

  def seekable(self):
    return True

  def seek(self, offset, whence=io.SEEK_SET):
    return self._file.seek(offset, whence)

  def readinto(self, buffer):
    return self._file.readinto(buffer)

  @functools.cached_property
  def _file(self):
    if not self._path.is_file():
      raise NotFound(self._path.name)
    return open(self._path, "rb", buffering=0)
