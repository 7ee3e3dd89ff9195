"""Data for the benchmarks: photos as files and converted, and the converted digits."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tarfile

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
ARCHIVE = ROOT.parent / "shared" / "data" / "imagenet200.tar"
PAINTED = 200
VALIDATED = 4  # classes
SIDES = ((375, 500), (500, 375), (333, 500), (480, 640))  # height, width: ImageNet's common ones


def write(folder: pathlib.Path) -> str:
  """Writes photos as folder/<class>/<file> and returns what they are."""
  if ARCHIVE.exists():
    with tarfile.open(ARCHIVE) as archive:
      archive.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    for one in inner.iterdir():
      one.rename(folder / one.name)
    inner.rmdir()
    return f"{_count(folder)} of ImageNet's photos"
  for number in range(PAINTED):
    path = folder / f"class{number % 10}" / f"{number:03d}.jpg"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(paint(number, *SIDES[number % len(SIDES)])).save(path, quality=92)
  return (
    f"{_count(folder)} painted pictures (no {ARCHIVE.name} in ../shared/data beside the checkout)"
  )


def paint(seed: int, height: int, width: int) -> np.ndarray:
  """Returns uint8 [height, width, 3]: smooth shapes and grain, about as large as a photo's JPEG."""
  random = np.random.RandomState(seed)
  coarse = Image.fromarray(random.randint(0, 256, (12, 16, 3)).astype(np.uint8))
  smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
  grain = random.normal(0, 12, (height, width, 1))
  return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def convert(images: pathlib.Path, output: pathlib.Path, scales: str, shards: str) -> str:
  """Converts a folder of images by the product's own command; returns the data set's path."""
  run("data_tools.convert", f"--input={images}", f"--output={output}", f"--scales={scales}",
      f"--shards={shards}")  # fmt: skip
  return str(output)


def imagenet(folder: pathlib.Path) -> str:
  """Writes and converts photos at scale 256, few of them for validation; returns the set's path."""
  for split in ("train", "validation"):
    (folder / "images" / split).mkdir(parents=True)
  write(folder / "images" / "train")
  for one in sorted((folder / "images" / "train").iterdir())[:VALIDATED]:
    shutil.copytree(one, folder / "images" / "validation" / one.name)
  return convert(folder / "images", folder / "records", "256", "train=1,validation=1")


def digits(folder: pathlib.Path) -> str:
  """Writes and converts the quickstart's digits; returns the data set's path."""
  run("data_tools.digits", f"--output={folder / 'images'}")
  return convert(folder / "images", folder / "records", "32,40,48", "train=4,validation=2")


def run(module: str, *arguments: str) -> None:
  """Runs a command of the product; its output is shown if it fails."""
  done = subprocess.run(
    [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True
  )
  if done.returncode:
    raise RuntimeError(f"{module} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def _count(folder: pathlib.Path) -> int:
  return sum(path.is_file() for path in folder.glob("*/*"))
