"""Every input is in exactly one place, whatever it holds: random archives of damaged images."""

import argparse
import collections
import io
import os
import pathlib
import struct
import tarfile
import tempfile
import zlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from PIL import Image

from data_tools.conversion import convert_shard
from data_tools.job import Job
from data_tools.members import Members
from data_tools.options import Options
from data_tools.progress import Tally
from data_tools.sources import imagenet
from tests.data_tools.rendering import Here
from vggtf import records, schema

KEYS = ("n00000001", "n00000002")
STORED, OPEN = "stored", "either"  # a flipped bit may be seen or not, and never lost


def _encode(array, format_="JPEG", **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, format_, **options)
  return buffer.getvalue()


def _bomb() -> bytes:
  """A PNG whose header says 60,000 x 60,000."""

  def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

  size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
  pixels = zlib.compress(b"\0" * 1000)
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _kinds() -> dict[str, tuple]:
  """Returns for each kind its bytes, and what must become of them: STORED, OPEN or a reason."""
  rng = np.random.default_rng(0)
  rgb = rng.integers(0, 256, (40, 50, 3), np.uint8)
  good = _encode(rgb)
  flipped = bytearray(good)
  flipped[len(good) // 2] ^= 0x10
  alpha = np.dstack([rgb, rgb[..., :1]])
  frames = [Image.fromarray(rgb), Image.fromarray(rgb[::-1].copy())]
  animated = io.BytesIO()
  frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
  cmyk = io.BytesIO()
  Image.fromarray(rgb).convert("CMYK").save(cmyk, "JPEG")
  return {
    "sound": (good, STORED),
    "grey": (_encode(rgb[..., 0]), STORED),
    "png": (_encode(rgb, "PNG"), STORED),
    "alpha": (_encode(alpha, "PNG"), STORED),
    "sixteen bits": (_encode(rng.integers(0, 65536, (40, 50), np.uint16), "PNG"), STORED),
    "bmp": (_encode(rgb, "BMP"), STORED),
    "cmyk": (cmyk.getvalue(), STORED),
    "trailing garbage": (good + b"garbage", STORED),
    "one pixel": (_encode(rgb[:1, :1]), STORED),
    "flipped": (bytes(flipped), OPEN),
    "cut": (good[: len(good) // 2], "truncated"),
    "header alone": (good[:20], "truncated"),
    "empty": (b"", "empty"),
    "text": (b"<html>not found</html>", "not_an_image"),
    "animated": (animated.getvalue(), "animated"),
    "bomb": (_bomb(), "too_large"),
    "needle": (_encode(np.zeros((1, 9000, 3), np.uint8)), "too_narrow"),
  }


KINDS = _kinds()
UNSAFE = ("absolute", "link", "device")  # members that are never opened


@strategies.composite
def archives(draw):
  """Yields ([(class, kind)], order of nothing in particular) for one archive of two classes."""
  names = strategies.sampled_from([*KINDS, *UNSAFE])
  return draw(strategies.lists(strategies.tuples(strategies.sampled_from(KEYS), names), min_size=1))


def write_train(path: pathlib.Path, images) -> dict[str, str]:
  """Writes a tar of tars; returns what must become of each image, by its id."""
  expected = {}
  inner = {key: io.BytesIO() for key in sorted({key for key, _ in images})}
  tars = {key: tarfile.open(fileobj=inner[key], mode="w") for key in inner}  # noqa: SIM115
  for at, (key, kind) in enumerate(images):
    name = f"{key}_{at}.JPEG"
    info = tarfile.TarInfo(f"/{name}" if kind == "absolute" else name)
    data, outcome = KINDS.get(kind, (b"", "unsafe_member"))
    if kind == "link":
      info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    elif kind == "device":
      info.type = tarfile.CHRTYPE
    info.size = len(data)
    tars[key].addfile(info, io.BytesIO(data))
    expected[f"train/{key}/{name}"] = outcome
  with tarfile.open(path, "w") as outer:
    for key in inner:
      tars[key].close()
      info = tarfile.TarInfo(f"{key}.tar")
      info.size = len(inner[key].getvalue())
      outer.addfile(info, io.BytesIO(inner[key].getvalue()))
  return expected


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(archives())
def test_every_image_is_stored_or_rejected_for_its_own_reason(images):
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    expected = write_train(root / "ILSVRC2012_img_train.tar", images)
    parser = argparse.ArgumentParser()
    imagenet.add_flags(parser)
    source = imagenet.open_source(parser.parse_args([f"--input={folder}", "--partial"]))
    options = Options(scales=(24,), shards=(("train", 1),), max_pixels=200_000)
    listed = [member for piece in source.roots() for member in source.list_items(piece)]
    job = Job(source, tuple(source.classes()), options, os.path.join(folder, "out"))
    tally = Tally("bucket://none", "train-0")
    result = convert_shard("train", 0, Members(listed), job, Here(options), tally)
    shard = (root / "out" / result.files[0].path).read_bytes()

  stored = [schema.decode(data, "x").id for data in records.iterate(shard, "x")]
  rejected = {note.id: note.what for note in result.notes if note.kind == "image"}
  assert sorted([*stored, *rejected]) == sorted(expected)
  assert result.inputs.images == len(expected)
  for id_, outcome in expected.items():
    if outcome not in (STORED, OPEN):
      assert rejected.get(id_) == outcome, id_
    elif outcome == STORED:
      assert id_ in stored, rejected[id_]
  of_class = collections.Counter(id_.split("/")[1] for id_ in stored)
  keys = [key for key, _ in source.classes()]
  assert {keys[label]: number for label, number in result.class_counts} == of_class


def test_kinds_are_what_they_are_called():
  """So that the property above speaks of real damage."""
  assert len(KINDS) + len(UNSAFE) >= 15
  for kind in ("cut", "header alone", "empty", "text"):
    with (
      pytest.raises(OSError, match=r"trunc|cannot identify"),
      Image.open(io.BytesIO(KINDS[kind][0])) as image,
    ):
      image.load()
