"""The development kit of ILSVRC2012: its classes, and the classes of the validation images."""

import dataclasses
import re

from data_tools import storage
from data_tools.listing import archive, ilsvrc_meta
from vggtf import errors

_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
_WNID = re.compile(r"n\d{8}")


@dataclasses.dataclass(frozen=True)
class Devkit:
  """What it says.

  Attributes:
    synsets: (WNID, words) of the classes, sorted; groups of classes are not among them.
    wnids: the WNID of each ILSVRC2012_ID.
    train_images: the training images of each class, by WNID, where the kit says so.
    truth: the ILSVRC2012_ID of each validation image, in the order of their numbers.
  """

  synsets: tuple[tuple[str, str], ...]
  wnids: dict[int, str]
  train_images: dict[str, int]
  truth: tuple[int, ...]


def read(path: str) -> Devkit:
  """Returns what a devkit says, an archive or an extracted folder, here or in a bucket.

  Raises:
    UsageError: a file of it is missing, is not what it should be, or the two disagree.
    IntegrityError: the archive is damaged.
    EnvironmentFault: scipy, which reads .mat files, is not installed.
  """
  files = _read_files(path)
  missing = [name for name in (_META, _TRUTH) if name not in files]
  if missing:
    raise errors.UsageError(f"the devkit {path} lacks {', '.join(missing)}; get it again")
  kit = _read_meta(files[_META], f"{path}/{_META}")
  truth = read_numbers(files[_TRUTH].decode(errors="replace").split(), f"{path}/{_TRUTH}")
  check_ids(truth, kit, f"{path}/{_TRUTH}")
  return dataclasses.replace(kit, truth=truth)


def read_numbers(words: list[str], where: str) -> tuple[int, ...]:
  """Returns ILSVRC2012_IDs; raises UsageError if a word is no whole number."""
  for line, word in enumerate(words, 1):
    if not (word.isascii() and word.isdigit()):
      raise errors.UsageError(f"{where}, line {line}: got {word[:80]!r}, expected a number")
  return tuple(map(int, words))


def check_ids(numbers: tuple[int, ...], devkit: Devkit, where: str):
  """Raises UsageError if the devkit has no class of one of the numbers."""
  unknown = sorted({number for number in numbers if number not in devkit.wnids})
  if unknown:
    raise errors.UsageError(
      f"{where}: {len(unknown)} ILSVRC2012_IDs are of no class: {unknown[:5]}; the classes have "
      f"{min(devkit.wnids)}..{max(devkit.wnids)}"
    )


def _read_files(path: str) -> dict[str, bytes]:
  if storage.is_folder(path):
    files = {}
    for name in (_META, _TRUTH):
      try:
        files[name] = storage.read_file(storage.join(path, name))
      except FileNotFoundError:
        continue  # named above, with the other
    return files
  return {
    name: data
    for member, data in archive.stream_members(path, path)
    if not member.unsafe and (name := "/".join(member.name.split("/")[-2:])) in (_META, _TRUTH)
  }


def _read_meta(data: bytes, where: str) -> Devkit:
  rows = ilsvrc_meta.read(data, where)
  ids = [number for number, *_ in rows]
  keys = [key for _, key, *_ in rows]
  odd = sorted(key for key in set(keys) if keys.count(key) > 1 or not _WNID.fullmatch(key))
  if odd:
    raise errors.UsageError(f"{where}: twice, or not a WNID: {odd[:5]}; get the devkit again")
  if sorted(ids) != list(range(1, len(rows) + 1)):
    raise errors.UsageError(
      f"{where}: the ILSVRC2012_IDs of its {len(rows)} classes are not 1..{len(rows)}, each once; "
      "get the devkit again"
    )
  return Devkit(
    synsets=tuple(sorted((key, words) for _, key, words, _ in rows)),
    wnids=dict(zip(ids, keys, strict=True)),
    train_images={key: images for _, key, _, images in rows if images},
    truth=(),
  )
