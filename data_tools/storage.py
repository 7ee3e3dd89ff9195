"""Files here or in a bucket: a path with a scheme (gs://) goes through Beam's FileSystems.

Beam is imported for such paths alone. Its errors become OSErrors, as a local file's are, or an
EnvironmentFault where it has no filesystem for the scheme.
"""

import contextlib
import functools
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from vggtf import errors

NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)  # of a path that names none
TEMPORARY_MARK = ".tmp-"  # in the name of a file that is being written


def is_remote(path: str) -> bool:
  """Returns whether a path names a scheme, as gs://bucket/name does."""
  return "://" in path


def absolute(path: str) -> str:
  """Returns a local path as an absolute one and a remote one without a slash at its end."""
  return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def join(folder: str, name: str) -> str:
  """Returns the path of `name`, whose parts have "/" between them, below `folder`."""
  return f"{folder}/{name}" if is_remote(folder) else os.path.join(folder, *name.split("/"))


def open_file(path: str) -> BinaryIO:
  """Opens a file for reading from any place in it.

  Raises:
    FileNotFoundError: there is none.
    OSError: it cannot be read.
  """
  if not is_remote(path):
    return open(path, "rb")
  with _reporting(path) as filesystems:
    from apache_beam.io.filesystem import CompressionTypes

    return filesystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def read_file(path: str) -> bytes:
  """Returns a file's bytes; raises what `open_file` does."""
  with _naming_missing(path), open_file(path) as file:
    return file.read()


def read_range(path: str, offset: int, size: int) -> bytes:
  """Returns `size` bytes from `offset`, fewer at the file's end; raises what `open_file` does."""
  with _naming_missing(path), _open_for(path, size) as file:
    file.seek(offset)
    return file.read(size)


def get_size(path: str) -> int:
  """Returns a file's size in bytes; raises FileNotFoundError if there is none."""
  if not is_remote(path):
    return os.path.getsize(path)
  with _reporting(path) as filesystems:
    found = filesystems.match([path])[0].metadata_list
  if not found:
    raise FileNotFoundError(2, "no such file", path)
  return found[0].size_in_bytes


def is_file(path: str) -> bool:
  """Returns whether there is a file of that name."""
  try:
    get_size(path)
  except NO_FILE:
    return False
  return is_remote(path) or os.path.isfile(path)


def is_folder(path: str) -> bool:
  """Returns whether there is a folder of that name, or a remote file below it."""
  if not is_remote(path):
    return os.path.isdir(path)
  with _reporting(path) as filesystems:
    return bool(filesystems.match([f"{path}/**"], limits=[1])[0].metadata_list)


def list_files(folder: str) -> Iterator[tuple[str, int]]:
  """Yields (path below `folder` with "/" between its parts, bytes) of all files, sorted by path."""
  if is_remote(folder):
    with _reporting(folder) as filesystems:
      found = filesystems.match([f"{folder}/**"])[0].metadata_list
    yield from sorted((entry.path[len(folder) + 1 :], entry.size_in_bytes) for entry in found)
    return
  paths = (
    os.path.join(path, name)
    for path, _, names in os.walk(folder, followlinks=True)
    for name in names
  )
  for path in sorted(os.path.relpath(path, folder).replace(os.sep, "/") for path in paths):
    full = os.path.join(folder, path)
    yield path, os.path.getsize(full) if os.path.exists(full) else 0  # a link may lead nowhere


def create_file(path: str) -> BinaryIO:
  """Opens a new file for writing; its folder is made where it is missing.

  Raises:
    OSError: it cannot be made.
  """
  if not is_remote(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return open(path, "wb")
  with _reporting(path) as filesystems:
    from apache_beam.io.filesystem import CompressionTypes

    return filesystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def publish_file(file: BinaryIO, temporary: str, final: str):
  """Closes a written file, once it is on disk, and renames it; `final` is never half a file.

  Raises:
    OSError: the disk or the bucket refuses.
  """
  if not is_remote(final):
    file.flush()
    os.fsync(file.fileno())
    file.close()
    os.replace(temporary, final)
    return
  with _reporting(final) as filesystems:
    file.close()
    filesystems.rename([temporary], [final])


def remove_files(paths: Sequence[str]):
  """Removes files; one that is not there is no error."""
  remote = [path for path in paths if is_remote(path)]
  for path in set(paths) - set(remote):
    with contextlib.suppress(FileNotFoundError):
      os.remove(path)
  if remote:
    with _reporting(remote[0]) as filesystems:
      filesystems.delete([path for path in remote if filesystems.exists(path)])


def remove_empty_folder(path: str):
  """Removes a local folder that is there and empty; buckets have none."""
  if not is_remote(path):
    with contextlib.suppress(FileNotFoundError):
      os.rmdir(path)


def write_file(path: str, data: bytes):
  """Writes a file so that it is whole and on disk, or absent.

  Raises:
    EnvironmentFault: the disk is full or fails.
  """
  temporary = f"{path}{TEMPORARY_MARK}{uuid.uuid4().hex}"
  try:
    with create_file(temporary) as file:
      file.write(data)
      publish_file(file, temporary, path)
  except OSError as error:
    with contextlib.suppress(OSError):
      remove_files([temporary])
    raise errors.EnvironmentFault(
      f"cannot write {path}: {error.strerror}; free the space or the permission and run again"
    ) from error


def _open_for(path: str, size: int) -> BinaryIO:
  """Through FileSystems, every read of a gs:// file fetches 16 MiB, a hundred images."""
  if not path.startswith("gs://"):
    return open_file(path)
  with _reporting(path):
    return _make_gcs_client().open(path, read_buffer_size=size)


@functools.cache
def _make_gcs_client():
  try:
    from apache_beam.io.gcp.gcsio import GcsIO
  except ImportError as error:
    raise _make_fault("gs://") from error
  return GcsIO()


@contextlib.contextmanager
def _naming_missing(path: str) -> Iterator[None]:
  """A bucket's client says in its own words, and only when it reads, what is missing."""
  try:
    yield
  except Exception as error:
    if is_remote(path) and not is_file(path):
      raise FileNotFoundError(2, "no such file", path) from error
    raise


@contextlib.contextmanager
def _reporting(path: str) -> Iterator[Any]:
  from apache_beam.io.filesystem import BeamIOError
  from apache_beam.io.filesystems import FileSystems

  try:
    yield FileSystems
  except (BeamIOError, ValueError) as error:  # ValueError: no class for the scheme
    details = getattr(error, "exception_details", None) or {}
    if isinstance(error, ValueError) or any(isinstance(e, ImportError) for e in details.values()):
      raise _make_fault(path) from error
    missing = isinstance(details.get(path), FileNotFoundError)
    raise (FileNotFoundError if missing else OSError)(
      2 if missing else 5, str(error), path
    ) from error


def _make_fault(path: str) -> errors.EnvironmentFault:
  scheme = path.partition("://")[0]
  extra = {"gs": "gcp", "s3": "aws", "hdfs": "hadoop"}.get(scheme)
  cure = f"run: pip install 'apache-beam[{extra}]'" if extra else "copy it to a local disk"
  return errors.EnvironmentFault(f"no filesystem for {scheme}:// paths ({path}); {cure}")
