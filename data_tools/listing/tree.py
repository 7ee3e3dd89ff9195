"""What lies below a folder, here or in a bucket, save what is hidden (its name starts with a dot).

A bucket knows no folders, only names with "/" in them: one listing of all names tells what there
is, while here each folder is looked into by itself.
"""

import os
from collections.abc import Collection, Iterator

from data_tools import storage
from vggtf import errors

Refused = tuple[str, str]  # reason, detail


def find_folders(root: str, inside: Collection[str]) -> dict[str, list[str]]:
  """Returns the names of the folders in `root`, under "", and in those of them named in `inside`.

  Each list is sorted. A bucket is listed once.
  """
  if not storage.is_remote(root):
    found = {"": _list_folders(root)}
    return found | {
      name: _list_folders(os.path.join(root, name)) for name in found[""] if name in inside
    }
  names: dict[str, set[str]] = {"": set()}
  for parts in _list_remote(root):
    if len(parts) > 1:
      names[""].add(parts[0])
    if len(parts) > 1 and parts[0] in inside:
      names.setdefault(parts[0], set()).update(parts[1:2] if len(parts) > 2 else ())
  return {name: sorted(folders) for name, folders in names.items()}


def list_files(root: str, path: str) -> Iterator[tuple[str, Refused | None]]:
  """Yields (path below `root`, why it is no file or None) of all that lies below `path`.

  Links are followed. A name that is not UTF-8 holds surrogates, as os.fsdecode makes them.

  Raises:
    UsageError: a link leads to a folder that holds it.
  """
  if storage.is_remote(root):
    for parts in _list_remote(join(root, path)):
      yield join(path, "/".join(parts)), None
  else:
    yield from _walk(root, path, ())


def list_files_beside(root: str, path: str) -> Iterator[str]:
  """Yields the paths below `root` of the files in a local folder, but not in the folders in it."""
  for entry in _scan(os.path.join(root, path)):
    if not _is_folder(entry):
      yield join(path, entry.name)


def to_id(path: str) -> str:
  """Returns a path as text; bytes of it that are not UTF-8 become a backslash, x and digits."""
  return os.fsencode(path).decode("utf-8", "backslashreplace")


def join(folder: str, name: str) -> str:
  """Returns the path of `name` below `folder`, which may be ""."""
  return storage.join(folder, name) if folder and name else folder or name


def _walk(root: str, path: str, above: tuple) -> Iterator[tuple[str, Refused | None]]:
  full = os.path.join(root, path)
  status = os.stat(full)
  here = (status.st_dev, status.st_ino)
  if here in above:
    raise errors.UsageError(f"{full} is a link to a folder that holds it; remove the link")
  for entry in _scan(full):
    child = join(path, entry.name)
    if _is_folder(entry):
      yield from _walk(root, child, (*above, here))
    elif _is_file(entry):
      yield child, None
    else:
      kind = "a link to nothing" if entry.is_symlink() else "a device, pipe or socket"
      yield child, ("not_a_file", kind)


def _scan(folder: str) -> list[os.DirEntry]:
  with os.scandir(folder) as entries:
    visible = [entry for entry in entries if not entry.name.startswith(".")]
  return sorted(visible, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry) -> bool:
  # DirEntry asks the disk for links alone, but raises for one that leads round in a circle.
  return os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()


def _is_file(entry: os.DirEntry) -> bool:
  return os.path.isfile(entry) if entry.is_symlink() else entry.is_file()


def _list_folders(folder: str) -> list[str]:
  return [entry.name for entry in _scan(folder) if _is_folder(entry)]


def _list_remote(folder: str) -> Iterator[list[str]]:
  for path, _ in storage.list_files(folder):
    parts = path.split("/")
    if parts[-1] and not any(part.startswith(".") for part in parts):  # "a/" stands for a folder
      yield parts
