"""One TFRecord file while it is written: under a temporary name until it is whole and on disk."""

import contextlib
import hashlib
import os
import shutil
import uuid

from data_tools import storage
from vggtf import errors, manifest, records


class ShardFile:
  """Writes records one by one; memory holds none of them.

  The temporary name is unique, so two attempts at one shard (a retry, a worker thought dead) do not
  meet; both rename the same bytes to the same name.
  """

  def __init__(self, folder: str, path: str):
    """Opens the temporary file.

    Args:
      folder: the data set's folder.
      path: the shard's path below it, with "/" between its parts.

    Raises:
      EnvironmentFault: the file cannot be made.
    """
    self._path = path
    self._final = storage.join(folder, path)
    self._temporary = f"{self._final}{storage.TEMPORARY_MARK}{uuid.uuid4().hex}"
    self._digest = hashlib.sha256()
    self._records = self._bytes = 0
    with self._reporting():
      self._file = storage.create_file(self._temporary)

  def write(self, data: bytes):
    """Appends one record.

    Raises:
      EnvironmentFault: the disk is full or fails.
    """
    framed = records.frame(data)
    with self._reporting():
      self._file.write(framed)
    self._digest.update(framed)
    self._records += 1
    self._bytes += len(framed)

  def commit(self) -> manifest.Shard:
    """Gives the file its final name, once its bytes are on disk; returns its manifest entry.

    Raises:
      EnvironmentFault: the disk is full or fails.
    """
    with self._reporting():
      storage.publish_file(self._file, self._temporary, self._final)
    return manifest.Shard(self._path, self._records, self._bytes, self._digest.hexdigest())

  def discard(self):
    """Removes the temporary file; does nothing after `commit`."""
    if not self._file.closed:
      with contextlib.suppress(OSError):
        self._file.close()
      with contextlib.suppress(OSError):
        storage.remove_files([self._temporary])

  @contextlib.contextmanager
  def _reporting(self):
    try:
      yield
    except OSError as error:
      raise errors.EnvironmentFault(
        f"cannot write {self._final}: {error.strerror}, after {self._bytes} bytes of it"
        f"{_describe_space(self._final)}; free the space or the permission and run again"
      ) from error


def remove_orphans(folder: str):
  """Removes the temporary files that dead workers left below `folder`."""
  names = [path for path, _ in storage.list_files(folder) if storage.TEMPORARY_MARK in path]
  storage.remove_files([storage.join(folder, name) for name in names])


def _describe_space(path: str) -> str:
  if storage.is_remote(path):
    return ""
  while path and not os.path.exists(path) and path != os.path.dirname(path):
    path = os.path.dirname(path)
  return f", {shutil.disk_usage(path or '.').free} bytes free on that disk"
