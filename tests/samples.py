"""A small converted data set, made in a moment, that a net can learn."""

import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from data_tools import pixels, sharding, statistics
from vggtf import manifest, records, schema

SIZES = ((40, 61), (57, 33), (32, 32), (41, 40), (75, 37), (40, 40))  # height, width
SHARDS = {"train": 3, "validation": 2}


def colour(label: int, classes: int) -> np.ndarray:
  """Returns float64 [3]: the mean RGB, about, of the images of a class; no two are near."""
  angle = 2 * np.pi * (label / classes + np.arange(3) / 3)
  return 128 + 80 * np.cos(angle)


def paint(seed: int, height: int, width: int) -> np.ndarray:
  """Returns uint8 [height, width, 3]: smooth, colourful, another one for each seed."""
  coarse = np.random.RandomState(seed).randint(0, 256, (4, 4, 3)).astype(np.uint8)
  return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def draw(split: str, at: int, classes: int) -> np.ndarray:
  """Returns uint8 [height, width, 3]: image number `at` of a split; images of a class differ."""
  label, turn = at % classes, at // classes
  picture = paint(2 * at + (split == "train"), *SIZES[(turn + label) % len(SIZES)])
  return (0.3 * picture + 0.7 * colour(label, classes)).astype(np.uint8)


def record(split: str, at: int, classes: int, scale: int, encoded: bytes) -> schema.Record:
  """Returns a record of an encoded original at a scale; 0 keeps its bytes."""
  rgb, label = pixels.decode_stored(encoded), at % classes
  stored = pixels.rescale(rgb, scale) if scale else rgb
  return schema.Record(
    id=f"{split}/{at:05d}",
    encoded=pixels.encode(stored, 95) if scale else encoded,
    height=stored.shape[0],
    width=stored.shape[1],
    label=label,
    synset=f"n{label:02d}",
    text=f"class {label}",
    filename=f"{at:05d}",
    scale=scale,
    original_height=rgb.shape[0],
    original_width=rgb.shape[1],
  )


def write_set(
  folder: pathlib.Path,
  stored: dict[str, dict[int, Sequence[schema.Record]]],
  labels: Sequence[tuple[str, str]],
) -> str:
  """Writes {split: {scale: records}} as a data set and returns its path."""
  shards: dict[str, tuple[manifest.Shard, ...]] = {}
  moments = statistics.Moments()
  for split, scales in stored.items():
    for scale, found in scales.items():
      files = []
      for index in range(SHARDS[split]):
        chosen = [one for one in found if sharding.choose_shard(one.id, SHARDS[split]) == index]
        chosen.sort(key=lambda one: sharding.order(one.id))
        data = b"".join(records.frame(schema.encode(one)) for one in chosen)
        path = sharding.shard_path(scale, split, index, SHARDS[split])
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        files.append(manifest.Shard(path, len(chosen), len(data), digest))
      shards[f"scale_{scale}/{split}"] = tuple(files)
  first = {split: next(iter(scales.values())) for split, scales in stored.items()}
  for one in first["train"]:
    moments += statistics.measure(pixels.decode_stored(one.encoded))
  content = manifest.Manifest(
    options={},
    libraries={},
    scales=tuple(stored["train"]),
    labels=tuple(labels),
    splits={split: len(found) for split, found in first.items()},
    class_counts={
      split: tuple(np.bincount([one.label for one in found], minlength=len(labels)).tolist())
      for split, found in first.items()
    },
    shards=shards,
    statistics=moments.summarize(),
    inputs={split: _inputs(found) for split, found in first.items()},
    rejected={},
    left_out={},
    refused_boxes={},
  )
  (folder / manifest.NAME).write_text(content.to_json())
  return str(folder)


def _inputs(found: Sequence[schema.Record]) -> manifest.Inputs:
  counts = [len(one.boxes) for one in found]
  return manifest.Inputs(len(found), 0, "", 0, int(np.count_nonzero(counts)), sum(counts))


def digits_like(
  folder: pathlib.Path,
  scales: Sequence[int] = (32, 40),
  train: int = 48,
  validation: int = 17,
  classes: int = 4,
) -> str:
  """Stores painted pictures and returns the data set's path; equal arguments, equal bytes."""
  stored = {
    split: {
      scale: [
        record(split, at, classes, scale, pixels.encode(draw(split, at, classes), 95))
        for at in range(count)
      ]
      for scale in scales
    }
    for split, count in (("train", train), ("validation", validation))
  }
  return write_set(folder, stored, [(f"n{at:02d}", f"class {at}") for at in range(classes)])
