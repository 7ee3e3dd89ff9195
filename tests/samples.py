"""A small converted data set, made in a moment, that a net can learn."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from data_tools import conversion, pixels, publication, sharding
from data_tools.options import Options
from data_tools.source import Item

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


@dataclasses.dataclass(frozen=True)
class Digits:
  """A source of the converter whose pictures are painted; label and shape follow from the id."""

  counts: dict[str, int]
  number: int

  def splits(self) -> Sequence[str]:
    return tuple(self.counts)

  def classes(self) -> Sequence[tuple[str, str]]:
    return tuple((f"n{label:02d}", f"class {label}") for label in range(self.number))

  def roots(self) -> Sequence[str]:
    return tuple(self.counts)

  def list_items(self, root: str):
    for at in range(self.counts[root]):
      id_ = f"{root}/{at:05d}"
      yield Item(id_, root, at % self.number, id_, (at, root))

  def read(self, item: Item) -> bytes:
    at, split = item.locator
    seed = 2 * at + (split == "train")
    turn = at // self.number
    picture = paint(seed, *SIZES[(turn + item.label) % len(SIZES)])
    tinted = 0.3 * picture + 0.7 * colour(item.label, self.number)
    return pixels.encode(tinted.astype(np.uint8), 95)

  def describe(self) -> dict:
    return {"name": "painted"}


def digits_like(
  folder: pathlib.Path,
  scales: Sequence[int] = (32, 40),
  train: int = 48,
  validation: int = 17,
  classes: int = 4,
) -> str:
  """Converts painted pictures and returns the data set's path; equal arguments, equal bytes."""
  source = Digits({"train": train, "validation": validation}, classes)
  options = Options(tuple(scales), tuple(SHARDS.items()))
  results = []
  for split, shards in SHARDS.items():
    items = list(source.list_items(split))
    for index in range(shards):
      chosen = [item for item in items if sharding.choose_shard(item.id, shards) == index]
      results.append(
        conversion.convert_shard(
          split, index, chosen, source, source.classes(), options, str(folder)
        )
      )
  publication.publish(str(folder), results, source.classes(), options, source.describe())
  return str(folder)
