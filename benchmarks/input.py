"""Training images a second: our feed, the usual tf.data pipeline, and decoding alone.

The usual pipeline starts from the original files: decode all of a photo, rescale it, crop, flip.
Decoding alone is what no pipeline that shows the same crops of the same records can undercut: the
same windows of the same JPEGs, from memory, without reading, parsing, order, resampling or flip.
Ours takes a thread a core, the others as many as tf.data chooses; each two that are compared have a
process of their own.
"""

from __future__ import annotations

import pathlib
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from benchmarks import photos, rounds
from vggtf import images, schema
from vggtf.data import order, pipeline, shards, train_view

SIDE = 224
BATCH = 64
SEED = 0
ROUNDS = 7
ROUND = 1.5  # seconds
WARM_UP = 0.5  # seconds before a round, until tf.data has its threads
WINDOWS = 4096  # that are decoded alone, again and again
PREFETCH = 2  # as ours; with a buffer that grows, the rounds would time what was made before them
LADDER = "256,320,384,448,512"
# What is trained at, and which set its crops are cut from.
VIEWS = {
  "S = 256, from originals": ((256, 256), "originals"),
  "S = 256, from 256": ((256, 256), "ladder"),
  f"S ~ U[256, 512], from {LADDER}": ((256, 512), "ladder"),
}


def measure() -> dict:
  rows, taken = [], {}
  with tempfile.TemporaryDirectory() as folder:
    originals = pathlib.Path(folder) / "photos"
    originals.mkdir()
    what = photos.write(originals)
    sets = {
      name: photos.convert(originals, pathlib.Path(folder) / name, scales, "train=4")
      for name, scales in (("originals", "0"), ("ladder", LADDER))
    }
    paths = [str(path) for path in sorted(originals.glob("*/*"))]
    for name, (scales, kind) in VIEWS.items():
      for ours, peer, peer_name in (
        ("feed", "usual", "usual tf.data pipeline"),
        ("feed", "decoding", "decoding the windows alone"),
        ("feed, colour", "feed", "without the colour shift"),
      ):
        found = rounds.apart(_take_turns, ours, peer, sets[kind], paths, scales)
        taken[f"{name}: {ours}, {peer}"] = found
        label = f"{ours}, {name}"
        rows.append(rounds.compare(label, "img/s", found[ours], peer_name, found[peer]))
  notes = [f"input: {what}, in the page cache; crops of {SIDE}, batches of {BATCH}"]
  return {"rows": rows, "notes": notes, "rounds": taken}


def _take_turns(
  ours: str, peer: str, data: str, paths: list[str], scales: tuple[int, int]
) -> dict[str, list[rounds.Round]]:
  """Returns rounds of two contenders, by name."""
  make = {
    "feed": lambda: make_feed(data, scales, None).batches(0),
    "feed, colour": lambda: make_feed(data, scales, train_view.ColourShift).batches(0),
    "usual": lambda: usual(paths, *scales),
    "decoding": lambda: decode_alone(data, scales),
  }
  return rounds.take_turns({one: _consume(make[one]()) for one in (ours, peer)}, ROUNDS)


def make_feed(data: str, scales: tuple[int, int], colour_shift) -> pipeline.TrainingFeed:
  """Returns the feed of gin/vgg16.gin on this data, with or without its colour shift."""

  def view(statistics):
    return train_view.TrainView(statistics, *scales, flip=True, colour_shift=colour_shift)

  return pipeline.TrainingFeed(data, SIDE, SEED, view, BATCH)


def usual(paths: list[str], scale_min: int, scale_max: int) -> tf.data.Dataset:
  """Returns batches as most would make them, from the original files."""

  def see(path):
    image = images.decode(tf.io.read_file(path))
    size = tf.shape(image, out_type=tf.int64)[:2]
    scale = tf.random.uniform([], scale_min, scale_max + 1, tf.int64)
    to = tf.cast(schema.scaled_side(size, tf.reduce_min(size), scale), tf.int32)
    image = tf.image.resize(image, to, method="bicubic", antialias=True)
    image = tf.image.random_crop(images.to_levels(image), (SIDE, SIDE, 3))
    return tf.image.random_flip_left_right(image)

  dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths)).repeat()
  dataset = dataset.map(see, num_parallel_calls=tf.data.AUTOTUNE)
  return dataset.batch(BATCH, drop_remainder=True).prefetch(PREFETCH)


def decode_alone(data: str, scales: tuple[int, int]) -> tf.data.Dataset:
  """Returns batches of one number an image: that its window was decoded."""
  encoded, windows = zip(*_windows(data, scales), strict=True)

  def decode(picture, window):
    pixels = tf.image.decode_and_crop_jpeg(
      picture, window, channels=3, dct_method="INTEGER_ACCURATE"
    )
    return pixels[0, 0, 0]  # the crops have many sizes; and copying them is not decoding

  dataset = tf.data.Dataset.from_tensor_slices((list(encoded), np.array(windows, np.int32)))
  dataset = dataset.repeat().map(decode, num_parallel_calls=tf.data.AUTOTUNE)
  return dataset.batch(BATCH, drop_remainder=True).prefetch(PREFETCH)


def _windows(data: str, scales: tuple[int, int]) -> Iterator[tuple[bytes, np.ndarray]]:
  """Yields the JPEG and the window of it that is decoded, of the feed's first images."""
  records = shards.Shards(data, "train")
  view = train_view.TrainView(records.manifest.statistics, *scales)
  for epoch, number in zip(*order.records_at(np.arange(WINDOWS), SEED, records.count), strict=True):
    uniform = order.uniform(SEED, int(epoch), int(number))[np.newaxis]
    scale = view.scales(uniform)
    picture = records.read_picture(int(number), records.nearest_scale(scale[0]))
    size = np.array([[picture.height, picture.width]])
    yield picture.encoded, view.choose(size, scale, uniform, SIDE).crop.window[0]


def _consume(dataset: tf.data.Dataset) -> rounds.Contender:
  opened = []

  def take(seconds: float) -> int:
    """Returns how many images came in a while, the last batch's end included."""
    end, batches = time.monotonic() + seconds, 0
    while time.monotonic() < end:
      next(opened[0])
      batches += 1
    return batches * BATCH

  def open_and_warm():
    opened.append(iter(dataset))
    take(WARM_UP)

  return rounds.Contender(lambda: take(ROUND), open_and_warm, opened.clear)
