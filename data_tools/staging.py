"""A folder that appears whole or not at all."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator

from vggtf import errors

_OWNER = "owner.json"


@contextlib.contextmanager
def stage(output: str, overwrite: bool) -> Iterator[str]:
  """Gives a folder to fill, which takes the name `output` when the block ends well.

  The folder lies beside `output`, as `<output>.incomplete`, so that a rename suffices. It is
  removed when the block fails; a kill leaves it, and the next run empties it. What `output` held
  before is replaced only when the block has ended, and comes back if the renaming fails.

  Args:
    output: absolute path of the folder to make.
    overwrite: whether an `output` that holds something may be replaced.

  Yields:
    The path of the folder to fill.

  Raises:
    UsageError: `output` holds something and `overwrite` is false, or is no folder, or another
      process is filling it now.
    OSError: the disk's refusal.
  """
  incomplete, replaced = f"{output}.incomplete", f"{output}.replaced-by-vggtf"
  if os.path.isdir(replaced) and not os.path.lexists(output):
    os.rename(replaced, output)  # killed between the two renames below
  _check_free(output, overwrite)
  os.makedirs(os.path.dirname(output), exist_ok=True)
  lock = _claim(incomplete, output)
  try:
    try:
      yield incomplete
      os.remove(os.path.join(incomplete, _OWNER))
      _check_free(output, overwrite)
    except BaseException:
      shutil.rmtree(incomplete, ignore_errors=True)
      raise
    _put_in_place(incomplete, output, replaced)
  finally:
    os.close(lock)


def write_durably(folder: str, name: str, text: str):
  """Writes a text file so that it is whole and on disk, or absent.

  Raises:
    EnvironmentFault: the disk is full or fails.
  """
  path = os.path.join(folder, name)
  temporary = f"{path}.tmp-{os.getpid()}"
  try:
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError as error:
    with contextlib.suppress(OSError):
      os.remove(temporary)
    raise errors.EnvironmentFault(
      f"cannot write {path}: {error.strerror}; free the space or the permission and run again"
    ) from error


def _check_free(output: str, overwrite: bool):
  if os.path.lexists(output) and not os.path.isdir(output):
    raise errors.UsageError(f"--output={output} is a file; expected a new or empty folder")
  if os.path.isdir(output) and os.listdir(output) and not overwrite:
    raise errors.UsageError(
      f"--output={output} is not empty; choose another folder, or replace it with --overwrite"
    )


def _claim(incomplete: str, output: str) -> int:
  """Locks the folder itself: the lock ends with its process, however that ends."""
  os.makedirs(incomplete, exist_ok=True)
  lock = os.open(incomplete, os.O_RDONLY)
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    claimed = os.path.samestat(os.fstat(lock), os.stat(incomplete))
  except (BlockingIOError, FileNotFoundError):
    claimed = False
  if not claimed:
    os.close(lock)
    raise errors.UsageError(
      f"--output={output} is being written by another process{_read_owner(incomplete)}; wait for "
      "it, or choose another folder"
    )
  left = os.listdir(incomplete)
  if left and _OWNER not in left:
    os.close(lock)
    raise errors.UsageError(
      f"{incomplete} holds files of something else than a broken-off run; move or remove it"
    )
  for entry in os.scandir(incomplete):
    shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.remove(entry.path)
  with open(os.path.join(incomplete, _OWNER), "w", encoding="utf-8") as file:
    json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
  return lock


def _read_owner(incomplete: str) -> str:
  try:
    with open(os.path.join(incomplete, _OWNER), encoding="utf-8") as file:
      owner = json.load(file)
    return f" (pid {owner['pid']} on {owner['host']})"
  except (OSError, ValueError, KeyError):
    return ""


def _put_in_place(incomplete: str, output: str, replaced: str):
  old = os.path.isdir(output) and bool(os.listdir(output))
  if old:
    shutil.rmtree(replaced, ignore_errors=True)
    os.rename(output, replaced)
  try:
    os.rename(incomplete, output)
  except OSError:
    if old:
      os.rename(replaced, output)
    raise
  _sync_folder(os.path.dirname(output))
  if old:
    shutil.rmtree(replaced, ignore_errors=True)


def _sync_folder(folder: str):
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
