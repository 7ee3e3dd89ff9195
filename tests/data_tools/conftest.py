"""Pictures made here, folders of them, and one finished conversion to look at and to damage."""

import io
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from data_tools import convert
from vggtf import errors, manifest, records, schema

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
SIZES = ((40, 61), (57, 33), (32, 32), (19, 24), (101, 37))


@pytest.fixture(scope="session")
def paint():
  """Returns a function (seed, height, width) to a smooth colourful uint8 [height, width, 3]."""

  def paint(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))

  return paint


@pytest.fixture(scope="session")
def save():
  """Returns a function (array or image, format, options) to the encoded bytes."""

  def save(image, format_: str = "JPEG", **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()

  return save


@pytest.fixture(scope="session")
def write_files():
  """Returns a function (folder, {path: bytes}) that writes them."""

  def write_files(folder: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    for name, data in files.items():
      path = folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(data)
    return folder

  return write_files


@pytest.fixture(scope="session")
def damage_scan(paint, save):
  """Returns a JPEG that lenient decoders take and a strict one refuses, and that JPEG undamaged."""
  import simplejpeg

  whole = save(paint(5, 64, 64), quality=95)
  for at in range(len(whole) // 2, len(whole) - 2):
    damaged = bytearray(whole)
    damaged[at] ^= 0x5A
    try:
      simplejpeg.decode_jpeg(bytes(damaged), strict=True)
    except ValueError:
      try:
        Image.open(io.BytesIO(damaged)).load()
      except OSError:
        continue
      return bytes(damaged), whole
  raise AssertionError("no byte of the scan can be damaged so")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, paint, save, write_files) -> pathlib.Path:
  """Returns a folder: 3 classes, 10 training and 4 validation images each, of odd sizes."""
  files = {}
  for label, key in enumerate(("n01", "n02", "n03")):
    for at in range(14):
      split = "train" if at < 10 else "validation"
      seed = 100 * label + at
      image = paint(seed, *SIZES[seed % len(SIZES)])
      files[f"{split}/{key}/{key}_{at}.JPEG"] = save(image, quality=90)
  files["train/n02/n02_3.JPEG"] = save(paint(7, 45, 50), "PNG")
  files["train/n03/n03_2.JPEG"] = save(Image.fromarray(paint(8, 45, 50)).convert("L"))
  return write_files(tmp_path_factory.mktemp("pictures"), files)


@pytest.fixture(scope="session")
def run_convert():
  """Returns a function (input, output, more flags) to convert's exit code."""

  def run_convert(input_, output, *more: str, scales="32,40", shards="train=3,validation=2") -> int:
    given = [f"--input={input_}", f"--output={output}", f"--scales={scales}", f"--shards={shards}"]
    return errors.run_command(lambda: convert.main([*given, *more]))

  return run_convert


@pytest.fixture(scope="session")
def converted(tmp_path_factory, pictures, run_convert) -> pathlib.Path:
  """Returns the data set made of `pictures`; not to be changed."""
  output = tmp_path_factory.mktemp("converted") / "set"
  assert run_convert(pictures, output) == 0
  return output


@pytest.fixture
def copied(converted, tmp_path) -> pathlib.Path:
  """Returns a copy of `converted`, to be damaged."""
  return pathlib.Path(shutil.copytree(converted, tmp_path / "copied"))


@pytest.fixture(scope="session")
def read_manifest():
  """Returns a function (folder) to its manifest."""
  return lambda folder: manifest.from_json((folder / manifest.NAME).read_text(), str(folder))


@pytest.fixture(scope="session")
def read_records():
  """Returns a function (folder, scale, split) to its records, in the order of the files."""

  def read_records(folder: pathlib.Path, scale: int, split: str) -> list[schema.Record]:
    return [
      schema.decode(data, path.name)
      for path in sorted((folder / f"scale_{scale}").glob(f"{split}-*"))
      for data in records.iterate(path.read_bytes(), path.name)
    ]

  return read_records


@pytest.fixture(scope="session")
def read_tree():
  """Returns a function (folder) to {path: bytes} of everything in it."""

  def read_tree(folder: pathlib.Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}

  return read_tree


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
  """Returns the folder that holds data_tools."""
  return REPOSITORY
