"""Converted images a second for scales 256, 384 and 512 in one pass, and the memory that it takes.

On one core, beside what the same libraries need for the pixels alone: decode once, resize and
encode three times, in a loop without files, records, statistics, Beam or a second process. On all
cores, beside one, and beside a plain script with a process per core whose ops are TensorFlow's. The
speed of the command is that of its further images: starting it is measured too, and taken off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import simplejpeg
from PIL import Image

from benchmarks import photos, rounds
from vggtf import schema

SCALES = (256, 384, 512)
QUALITY = 95
FEW = 20  # images of the run that shows what starting takes
MANY = 800
MORE = 2000  # for the memory alone
SHARDS = 8  # files of a scale: real ones are longer, and wait for the disk less often
ROUNDS = 4
POLL = 0.05  # seconds between looks at the memory


def measure() -> dict:
  cores = sorted(os.sched_getaffinity(0))
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    originals = folder / "photos"
    originals.mkdir()
    what = photos.write(originals)
    few, many, more = (_repeat(originals, folder / str(n), n) for n in (FEW, MANY, MORE))
    paths = [str(path) for path in sorted(many.glob("*/*"))]
    workers = (
      "--direct_running_mode=multi_processing",
      f"--direct_num_workers={len(cores)}",
    )
    one_core = {
      "command": lambda: _time_command(few, many, folder, cores[-1:]),
      "codecs": lambda: _time_processes(convert_pixels, [paths], cores[-1:]),
    }
    shares = [paths[at :: len(cores)] for at in range(len(cores))]
    all_cores = {
      "command": lambda: _time_command(few, many, folder, cores, *workers),
      "codecs": lambda: _time_processes(convert_pixels, shares, cores),
      "script": lambda: _time_processes(convert_plainly, shares, cores),
    }
    taken = _take_turns({"one core": one_core, "all cores": all_cores})
    notes = [
      f"input: {what}, repeated to {MANY}, in the page cache; JPEGs of quality {QUALITY}, 4:4:4",
      f"all cores: {len(cores)} worker processes, against as many of the script",
    ]
    for number, images in ((photos.PAINTED, originals), (MORE, more)):
      _, peaks = _run_command(images, folder / "out", cores[-1:])
      said = " + ".join(f"{peak >> 20}" for peak in peaks)
      notes.append(f"peak memory with {number:,} images: {said} MiB (the command, its decoder)")
  one, all_ = taken["one core"], taken["all cores"]
  many_cores = f"{len(cores)} cores"
  rows = [
    rounds.compare(what, "img/s", ours, peer_name, peer)
    for what, ours, peer_name, peer in (
      ("convert, 1 core", one["command"], "codecs alone", one["codecs"]),
      (f"convert, {many_cores}", all_["command"], "on 1 core", one["command"]),
      (f"codecs alone, {many_cores}", all_["codecs"], "on 1 core", one["codecs"]),
      (f"convert, {many_cores}", all_["command"], "codecs alone", all_["codecs"]),
      (f"convert, {many_cores}", all_["command"], "tf.image script", all_["script"]),
    )
  ]
  return {"rows": rows, "notes": notes, "rounds": taken}


def convert_pixels(paths: Sequence[str]) -> rounds.Round:
  """Returns the round of decoding, resizing and encoding, and nothing else."""
  files = [pathlib.Path(path).read_bytes() for path in paths]
  with _timing(len(files)) as done:
    for data in files:
      rgb = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
      image = Image.fromarray(rgb)
      for scale in SCALES:
        height, width = schema.stored_size(*rgb.shape[:2], scale)
        resized = image.resize((width, height), Image.Resampling.BICUBIC)
        simplejpeg.encode_jpeg(np.asarray(resized), QUALITY, "RGB", "444")
  return done[0]


def convert_plainly(paths: Sequence[str]) -> rounds.Round:
  """Returns the round of a script as many would write it, with one thread of TensorFlow's ops."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  import tensorflow as tf

  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)

  @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
  def convert(path):
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
    size = tf.shape(image)[:2]
    stored = []
    for scale in SCALES:
      to = schema.scaled_side(size, tf.reduce_min(size), scale)
      resized = tf.image.resize(image, to, "bicubic", antialias=True)
      levels = tf.saturate_cast(tf.round(resized), tf.uint8)
      stored.append(tf.io.encode_jpeg(levels, quality=QUALITY, chroma_downsampling=False))
    return stored

  def feature(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

  with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
    writers = [
      stack.enter_context(tf.io.TFRecordWriter(os.path.join(folder, str(scale))))
      for scale in SCALES
    ]
    convert(paths[0])
    with _timing(len(paths)) as done:
      for path in paths:
        for writer, stored in zip(writers, convert(path), strict=True):
          features = {
            "image/encoded": feature(stored.numpy()),
            "image/filename": feature(os.path.basename(path).encode()),
          }
          example = tf.train.Example(features=tf.train.Features(feature=features))
          writer.write(example.SerializeToString())
  return done[0]


def _take_turns(groups: dict[str, dict[str, Callable[[], rounds.Round]]]) -> dict:
  """Like rounds.take_turns, but all that is timed happens in other processes."""
  taken = {group: {name: [] for name in contenders} for group, contenders in groups.items()}
  for _ in range(ROUNDS):
    for group, contenders in groups.items():
      for name, contender in contenders.items():
        taken[group][name].append(contender())
  return taken


def _time_command(few, many, folder, cores: Sequence[int], *flags: str) -> rounds.Round:
  """What the images of `many` beyond those of `few` took."""
  start, _ = _run_command(few, folder / "out", cores, *flags)
  whole, _ = _run_command(many, folder / "out", cores, *flags)
  return rounds.Round(
    *(
      getattr(whole, field.name) - getattr(start, field.name)
      for field in dataclasses.fields(rounds.Round)
    )
  )


def _run_command(
  images: pathlib.Path, output: pathlib.Path, cores: Sequence[int], *flags: str
) -> tuple[rounds.Round, list[int]]:
  """Returns the round, and the peak of each process's resident memory in bytes, ours first."""
  command = [sys.executable, "-m", "data_tools.convert", f"--input={images}", f"--output={output}"]
  command += [
    f"--scales={','.join(map(str, SCALES))}",
    f"--quality={QUALITY}",
    f"--shards=train={SHARDS}",
  ]
  peaks: dict[int, int] = {}
  with tempfile.TemporaryFile("w+") as said, _pinned(cores):
    with _timing(_count(images), resource.RUSAGE_CHILDREN) as done:
      process = subprocess.Popen(
        [*command, "--overwrite", *flags], cwd=photos.ROOT, stdout=said, stderr=said
      )
      while process.poll() is None:
        _look(process.pid, peaks)
        time.sleep(POLL)
    if process.returncode:
      said.seek(0)
      raise RuntimeError(f"data_tools.convert ended with {process.returncode}\n{said.read()}")
  return done[0], list(peaks.values())


def _time_processes(
  work: Callable[[Sequence[str]], rounds.Round], shares: list[list[str]], cores: Sequence[int]
) -> rounds.Round:
  """Returns the round of processes that work side by side: as long as the slowest."""
  with _pinned(cores), multiprocessing.get_context("spawn").Pool(len(shares)) as pool:
    found = pool.map(work, shares, chunksize=1)
  return rounds.Round(
    sum(one.amount for one in found),
    max(one.seconds for one in found),
    sum(one.cpu_seconds for one in found),
    sum(one.system_seconds for one in found),
    sum(one.page_faults for one in found),
  )


@contextlib.contextmanager
def _timing(amount: int, who: int = resource.RUSAGE_SELF) -> Iterator[list[rounds.Round]]:
  """Yields a list that holds the round at the end."""
  done = []
  before, start = resource.getrusage(who), time.perf_counter()
  yield done
  seconds, after = time.perf_counter() - start, resource.getrusage(who)
  system = after.ru_stime - before.ru_stime
  done.append(
    rounds.Round(
      amount,
      seconds,
      after.ru_utime - before.ru_utime + system,
      system,
      after.ru_minflt - before.ru_minflt,
    )
  )


@contextlib.contextmanager
def _pinned(cores: Sequence[int]) -> Iterator[None]:
  """Processes that are started inside run on these cores only."""
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, cores)
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


def _look(pid: int, peaks: dict[int, int]) -> None:
  """Notes the peaks of a process and of all below it, as long as they live."""
  with contextlib.suppress(OSError):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
      if line.startswith("VmHWM:"):
        peaks[pid] = int(line.split()[1]) << 10
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
      for child in (task / "children").read_text().split():
        _look(int(child), peaks)


def _repeat(originals: pathlib.Path, folder: pathlib.Path, number: int) -> pathlib.Path:
  """Returns a folder of `number` images: the originals under other names, as often as it takes."""
  files = sorted(originals.glob("*/*"))
  for at in range(number):
    file = files[at % len(files)]
    path = folder / file.parent.name / f"{at // len(files)}_{file.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(file, path)
  return folder


def _count(folder: pathlib.Path) -> int:
  return sum(1 for _ in folder.glob("*/*"))
