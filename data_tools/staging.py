"""A folder that appears whole or not at all."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator

from data_tools import storage
from vggtf import errors, owner


def _never(folder: str) -> bool:
  return False


@contextlib.contextmanager
def stage(
  output: str,
  sign: str,
  overwrite: bool = False,
  resume: bool = False,
  is_valuable: Callable[[str], bool] = _never,
) -> Iterator[str]:
  """Gives a folder to fill, which takes the name `output` when the block ends well.

  The folder lies beside `output`, as `<output>.incomplete`, so that a rename suffices. When the
  block fails, or was killed, it stays if there is something valuable in it; otherwise it is
  removed. What `output` held before is replaced only when the block has ended, and comes back if
  the renaming fails.

  Args:
    output: path of the folder to make; a link is followed, and stays.
    sign: a file that is in every such folder; one without it is somebody else's, and is never
      replaced.
    overwrite: whether an `output` that holds something, or what a broken-off run has left, may be
      replaced.
    resume: whether to go on with what a broken-off run has left.
    is_valuable: says of a folder whether it holds what a resumed run could use.

  Yields:
    The path of the folder to fill.

  Raises:
    UsageError: `output` holds something and `overwrite` is false, or is no folder, or another
      process is filling it now, or a broken-off run has left something valuable and neither
      `resume` nor `overwrite` is asked for.
    EnvironmentFault: the folder cannot be made.
    OSError: the disk's refusal.
  """
  output = os.path.realpath(output)  # a link cannot be renamed over
  incomplete, replaced = f"{output}.incomplete", f"{output}.replaced-by-vggtf"
  if os.path.isdir(replaced) and not os.path.lexists(output):
    os.rename(replaced, output)  # killed between the two renames below
  _check_free(output, sign, overwrite)
  try:
    lock = _claim(incomplete, output)
  except OSError as error:
    raise errors.EnvironmentFault(
      f"--output={output} cannot be made ({error.strerror}); give permission or make room there, "
      "or choose another folder"
    ) from error
  try:
    if is_valuable(incomplete) and not (resume or overwrite):
      raise errors.UsageError(
        f"{incomplete} holds what a broken-off run has finished; go on with --resume, or start "
        "over with --overwrite"
      )
    with open(os.path.join(incomplete, owner.NAME), "w") as file:
      file.write(owner.write())
    if not resume:
      _empty(incomplete, sign)
    try:
      yield incomplete
      _check_free(output, sign, overwrite)
    except BaseException:
      if not is_valuable(incomplete):
        with contextlib.suppress(OSError):
          _empty(incomplete, sign)
          shutil.rmtree(incomplete)
      raise
    _put_in_place(incomplete, output, replaced)
    storage.remove_files([os.path.join(output, owner.NAME)])  # till now it said whose folder it is
  finally:
    os.close(lock)


@contextlib.contextmanager
def stage_remote(output: str, resume: bool = False) -> Iterator[str]:
  """Gives a bucket's folder to fill: itself, for a bucket cannot rename a folder in one step.

  The caller's last file is the sign that it is whole. Nothing is ever replaced, and what a
  broken-off run has written stays. The owner's file keeps two runs apart as long as they do not
  start in the same second: buckets have no locks.

  Args:
    output: as gs://bucket/name.
    resume: whether to go on with what a broken-off run has left.

  Yields:
    `output`.

  Raises:
    UsageError: it holds something, and not what a broken-off run has left for `resume`.
    OSError: the bucket's refusal.
  """
  path = storage.join(output, owner.NAME)
  found = {name for name, _ in storage.list_files(output)}
  if found and not (resume and owner.NAME in found):
    cure = "go on with --resume" if owner.NAME in found else "choose another folder"
    raise errors.UsageError(
      f"--output={output} is not empty{_describe_owner(path)}; {cure} (nothing in a bucket is "
      "replaced: it cannot be done in one step)"
    )
  storage.write_file(path, owner.write().encode())
  yield output
  storage.remove_files([path])


def _check_free(output: str, sign: str, overwrite: bool):
  if os.path.ismount(output):
    raise errors.UsageError(
      f"--output={output} is a mount point, which cannot be replaced; choose a folder in it"
    )
  if os.path.lexists(output) and not os.path.isdir(output):
    raise errors.UsageError(f"--output={output} is a file; expected a new or empty folder")
  if not os.path.isdir(output) or not os.listdir(output):
    return
  if not os.path.isfile(os.path.join(output, sign)):
    raise errors.UsageError(
      f"--output={output} holds something else (there is no {sign}); choose another folder, or "
      "move or remove what is there"
    )
  if not overwrite:
    raise errors.UsageError(
      f"--output={output} is not empty; choose another folder, or replace it with --overwrite"
    )


def _claim(incomplete: str, output: str) -> int:
  """Locks the folder itself: the lock ends with its process, however that ends."""
  try:
    os.makedirs(os.path.dirname(output), exist_ok=True)
  except (FileExistsError, NotADirectoryError) as error:
    raise errors.UsageError(
      f"--output={output} lies below the file {error.filename}; expected a folder to be there"
    ) from None
  os.makedirs(incomplete, exist_ok=True)
  lock = os.open(incomplete, os.O_RDONLY)
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    claimed = os.path.samestat(os.fstat(lock), os.stat(incomplete))
  except (BlockingIOError, FileNotFoundError):
    claimed = False
  if not claimed:
    os.close(lock)
    who = _describe_owner(os.path.join(incomplete, owner.NAME))
    raise errors.UsageError(
      f"--output={output} is being written by another process{who}; wait for it, or choose "
      "another folder"
    )
  left = os.listdir(incomplete)
  if left and owner.NAME not in left:
    os.close(lock)
    raise errors.UsageError(
      f"{incomplete} holds files of something else than a broken-off run; move or remove it"
    )
  return lock


def _empty(folder: str, sign: str):
  """Removes the sign first, lest a kill leave half a folder with it, and not the owner's file."""
  for entry in sorted(os.scandir(folder), key=lambda entry: entry.name != sign):
    if entry.name != owner.NAME:
      shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.remove(entry.path)


def _describe_owner(path: str) -> str:
  try:
    who = owner.read(storage.read_file(path))
  except OSError:
    who = None
  return f" ({who})" if who else ""


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
