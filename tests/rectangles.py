"""Small converted data sets whose pictures show rectangles, and the boxes that say where."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from data_tools import pixels
from tests import samples
from vggtf import schema

COLOURS = ((230, 30, 30), (30, 30, 230))  # of the rectangles of each class
AROUND = (30, 120, 30)  # red + blue tells a rectangle from it


def choose(split: str, at: int) -> tuple[tuple[int, int], list[schema.Box]]:
  """Returns height and width of a picture, and the box of its one rectangle, in its middle part."""
  random = np.random.RandomState([at, split == "train"])
  height, width = samples.SIZES[at % len(samples.SIZES)]
  first, size = random.uniform(0.2, 0.4, 2), random.uniform(0.25, 0.4, 2)
  xmin, ymin = (np.rint(first * (width, height)) / (width, height)).tolist()
  xmax, ymax = (np.rint((first + size) * (width, height)) / (width, height)).tolist()
  return (height, width), [schema.Box(xmin, ymin, xmax, ymax, at % 2)]


def draw(size: tuple[int, int], boxes: Sequence[schema.Box]) -> np.ndarray:
  """Returns uint8 [height, width, 3]."""
  height, width = size
  picture = Image.new("RGB", (width, height), AROUND)
  for box in boxes:
    corners = np.rint(np.multiply((box.xmin, box.ymin, box.xmax, box.ymax), (width, height) * 2))
    ImageDraw.Draw(picture).rectangle([*(corners - (0, 0, 1, 1))], fill=COLOURS[box.label])
  return np.asarray(picture)


def find(picture: np.ndarray) -> np.ndarray:
  """Returns float64 [4], xmin, ymin, xmax, ymax of the rectangle, pixels; NaN if there is none."""
  inside = picture[..., 0].astype(int) + picture[..., 2] > 160
  rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
  if not len(rows):
    return np.full(4, np.nan)
  return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


def write(
  folder: pathlib.Path,
  scales: Sequence[int] = (32, 40),
  train: int = 24,
  validation: int = 9,
  annotate: Callable[[str, int, list], Sequence[schema.Box]] = lambda split, at, boxes: boxes,
) -> str:
  """Stores pictures and returns the data set's path.

  Args:
    folder: new.
    scales: of the set.
    train: images.
    validation: images.
    annotate: split, number and box of an image -> the boxes that its record has.
  """
  stored = {}
  for split, count in (("train", train), ("validation", validation)):
    chosen = [choose(split, at) for at in range(count)]
    stored[split] = {
      scale: [
        dataclasses.replace(
          samples.record(split, at, 2, scale, pixels.encode(draw(size, boxes), 100)),
          boxes=tuple(annotate(split, at, boxes)),
        )
        for at, (size, boxes) in enumerate(chosen)
      ]
      for scale in scales
    }
  return samples.write_set(folder, stored, [("n00", "red"), ("n01", "blue")])
