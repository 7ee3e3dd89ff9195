"""A converted data set, opened: every record addressed by its number.

Opening checks what cannot be left to the middle of a run: the manifest's version, that every shard
is there at its size, and each file's chain of record lengths. The data's own checksum is verified
as a record is read, and a damaged one is named by file and number.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import tensorflow as tf

from vggtf import errors, manifest, records, schema

_log = logging.getLogger(__name__)
_CHUNK = 1 << 24  # bytes
_Decoded = TypeVar("_Decoded", schema.Record, schema.Picture)


class Shards:
  """The records of one split, number 0 to `count` - 1 in the order of the files.

  The set's files are sorted by a hash of the images' ids, so a record's number is the same at
  every scale and whatever the machine that converted it.
  """

  def __init__(self, data_dir: str, split: str):
    """Opens a split and checks its files' sizes and lengths against the manifest.

    Raises:
      UsageError: no such data set or split.
      IntegrityError: a file is missing, cut short, damaged or of another schema.
    """
    self.manifest = read_manifest(data_dir)
    if split not in self.manifest.splits:
      known = sorted(self.manifest.splits)
      raise errors.UsageError(
        f"{data_dir} has no split {split!r}; it has: {', '.join(known)}. Choose one of these, such "
        f'as by --gin_param="Classification.split = {known[-1]!r}", or convert with '
        "--validation_fraction"
      )
    self.split = split
    self.count = self.manifest.splits[split]
    self.scales = self.manifest.scales
    self._data_dir = data_dir
    self._opened: dict[int, _Scale] = {}
    self._lock = threading.Lock()

  def at_scale(self, scale: int) -> _Scale:
    """Returns the records at a stored scale, its files scanned on first use."""
    with self._lock:
      if scale not in self._opened:
        shards = self.manifest.shards[f"scale_{scale}/{self.split}"]
        self._opened[scale] = _Scale(self._data_dir, shards, self.count)
      return self._opened[scale]

  def nearest_scale(self, scale: float) -> int:
    """Returns the stored scale whose ratio to `scale` is nearest to 1; of two, the larger.

    The originals, scale 0, are taken where `scale` is above all others: they alone hold more.
    """
    resized = [stored for stored in self.scales if stored]
    if 0 in self.scales and scale > max(resized, default=0):
      return 0
    return min(sorted(resized, reverse=True), key=lambda stored: abs(np.log(stored / scale)))

  def sufficient_scale(self, scale: float) -> int:
    """Returns the smallest stored scale of at least `scale`; else the originals; else the largest.

    A larger stored picture loses less when it is brought to scale than a smaller one gains.
    """
    enough = [stored for stored in self.scales if stored >= scale]
    if not enough and 0 in self.scales:
      return 0
    return min(enough, default=max(self.scales))

  def warn_of_enlarging(self, scale: int) -> None:
    """Warns where every stored picture is smaller than is wanted, and will be enlarged."""
    largest = max(self.scales)
    if 0 not in self.scales and scale > largest:
      _log.warning(
        "pictures of smallest side %d are wanted, %s holds %d at most: they are enlarged, which "
        "shows no more; convert with --scales=%d among others",
        scale,
        self._data_dir,
        largest,
        scale,
      )

  def preload(self, scales: Iterable[int]) -> None:
    """Has the system read all files of some scales into its page cache; remote ones are there.

    Raises:
      EnvironmentFault: they are larger than the memory that is free.
    """
    files = [file for scale in scales for file in self.at_scale(scale).files]
    size, free = sum(map(len, files)), _free_memory()
    if size > free:
      raise errors.EnvironmentFault(
        f"TrainingFeed.preload: the images of {self._data_dir} take {size / 2**30:.1f} GiB, and "
        f"{free / 2**30:.1f} GiB of memory are free; leave it at False, or store fewer scales"
      )
    _log.info("reading %.1f GiB of images into memory", size / 2**30)
    for file in files:
      for first in range(0, len(file), _CHUNK):
        file[first : first + _CHUNK]

  def read(self, number: int, scale: int) -> schema.Record:
    """Returns a record, checked against its checksum, the schema and the label range.

    Raises:
      IntegrityError: the record is damaged; the message names file, record and cure.
    """
    return self._read(number, scale, schema.decode)

  def read_picture(self, number: int, scale: int) -> schema.Picture:
    """Returns a part of a record; the rest of it is not checked against the schema."""
    return self._read(number, scale, schema.decode_picture)

  def _read(self, number: int, scale: int, decode: Callable[[bytes, str], _Decoded]) -> _Decoded:
    data, where = self.at_scale(scale).read(number)
    record = decode(data, where)
    if not 0 <= record.label < len(self.manifest.labels):
      raise errors.IntegrityError(
        f"{where}: image/class/label is {record.label}, the manifest has "
        f"{len(self.manifest.labels)} classes; convert the data again"
      )
    return record


class _Scale:
  """One scale of a split: its files, mapped into memory, and where each record lies.

  files: their bytes.
  """

  def __init__(self, data_dir: str, shards: tuple[manifest.Shard, ...], count: int):
    spans, files = [], []
    self._names, self.files, self._firsts = [], [], []
    for shard in shards:
      path = f"{data_dir}/{shard.path}"
      buffer = _map_file(path, shard)
      found = records.scan(buffer, path)
      if len(found) != shard.records:
        raise errors.IntegrityError(
          f"{path} holds {len(found)} records, the manifest says {shard.records}; restore the file "
          "or convert again (python -m data_tools.verify lists all damage)"
        )
      self._names.append(path)
      self.files.append(buffer)
      self._firsts.append(sum(map(len, spans)))
      spans.append(found)
      files.append(np.full(len(found), len(files), np.int32))
    self._spans = np.concatenate(spans) if spans else np.zeros((0, 2), np.int64)
    self._files = np.concatenate(files) if files else np.zeros(0, np.int32)
    if len(self._spans) != count:
      raise errors.IntegrityError(
        f"{data_dir}: its shards hold {len(self._spans)} records, the manifest says {count}; "
        "convert again"
      )

  def read(self, number: int) -> tuple[bytes, str]:
    """Returns a record's data and its name for messages."""
    file = self._files[number]
    offset, length = self._spans[number].tolist()
    where = f"{self._names[file]} record {number - self._firsts[file]}"
    return records.read(self.files[file], offset, length, where), where


def _free_memory() -> int:
  """Returns how many bytes the system could use for files."""
  with open("/proc/meminfo") as file:
    fields = dict(line.split(":") for line in file)
  return int(fields["MemAvailable"].split()[0]) << 10  # it says kB and means KiB


def read_manifest(data_dir: str) -> manifest.Manifest:
  """Reads the manifest of a converted data set, local or on gs://.

  Raises:
    UsageError: there is none.
    IntegrityError: it is damaged or of another schema version.
  """
  path = f"{data_dir}/{manifest.NAME}"
  with _named(path):
    if not tf.io.gfile.exists(path):
      raise errors.UsageError(
        f"--data_dir={data_dir} is not a converted data set ({manifest.NAME} is missing); make one "
        "with python -m data_tools.convert"
      )
    with tf.io.gfile.GFile(path, "rb") as file:
      return manifest.from_json(file.read().decode(errors="replace"), path)


def _map_file(path: str, shard: manifest.Shard):
  """Returns the file as a buffer: a mapping where it is local, its bytes where it is remote."""
  with _named(path):
    if not tf.io.gfile.exists(path):
      raise errors.IntegrityError(
        f"{path} is missing, the manifest lists it; restore it or convert again"
      )
    size = tf.io.gfile.stat(path).length
    if size != shard.bytes:
      raise errors.IntegrityError(
        f"{path} has {size} bytes, the manifest says {shard.bytes}; restore it or convert again"
      )
    if size == 0:
      return b""
    if "://" in path:
      with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()
    with open(path, "rb") as file:
      return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
  """Turns TensorFlow's file errors into ours."""
  try:
    yield
  except tf.errors.UnimplementedError:
    scheme = path.split("://")[0]
    raise errors.EnvironmentFault(
      f"TensorFlow has no {scheme}:// filesystem; mount {path} or copy it to a local disk or gs://"
    ) from None
  except tf.errors.OpError as error:
    raise errors.EnvironmentFault(f"cannot read {path}: {error.message}") from None
