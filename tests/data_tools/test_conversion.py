"""One shard: what is written, what is refused, and whose fault an error is."""

import dataclasses
import os

import numpy as np
import pytest

from data_tools import conversion, pixels, sharding, statistics
from data_tools.options import Options
from data_tools.source import Item
from vggtf import errors, records, schema

CLASSES = (("n01", "tench"), ("n02", "goldfish"))


@dataclasses.dataclass
class Memory:
  """A source whose images are bytes, or errors to raise."""

  files: dict

  def read(self, item):
    found = self.files[item.id]
    if isinstance(found, Exception):
      raise found
    return found


def item(id_, label=0, **more):
  return Item(id_, "train", label, f"from {id_}", (), **more)


@pytest.fixture
def convert(tmp_path):
  def convert(items, files, **options):
    chosen = Options(**{"scales": (24, 40), "shards": (("train", 1),)} | options)
    arguments = ("train", 0, items, Memory(files), CLASSES, chosen, str(tmp_path))
    return conversion.convert_shard(*arguments)

  return convert


def read(folder, scale):
  path = folder / f"scale_{scale}" / "train-00000-of-00001"
  return [schema.decode(data, "x") for data in records.iterate(path.read_bytes(), "x")]


def test_records_say_what_was_stored(convert, tmp_path, paint, save):
  files = {f"train/n02/{at}.JPEG": save(paint(at, 50, 33 + at)) for at in range(6)}
  result = convert([item(id_, 1) for id_ in files], files)
  assert (result.split, result.index, result.class_counts) == ("train", 0, ((1, 6),))
  assert [file.path for file in result.files] == [
    "scale_24/train-00000-of-00001",
    "scale_40/train-00000-of-00001",
  ]
  for scale in (24, 40):
    stored = read(tmp_path, scale)
    assert [record.id for record in stored] == sorted(files, key=sharding.order)
    for record in stored:
      rgb = pixels.decode(files[record.id], 10**6, 40).rgb
      assert record == schema.Record(
        id=record.id,
        encoded=pixels.encode(pixels.rescale(rgb, scale), 95),
        height=schema.scaled_side(50, rgb.shape[1], scale),
        width=scale,
        label=1,
        synset="n02",
        text="goldfish",
        filename=record.id.split("/")[-1],
        scale=scale,
        original_height=50,
        original_width=rgb.shape[1],
      )


def test_moments_are_of_the_stored_smallest_images(convert, tmp_path, paint, save):
  files = {str(at): save(paint(at, 30, 40)) for at in range(5)}
  result = convert([item(id_) for id_ in files], files)
  stored = [pixels.decode_stored(record.encoded) for record in read(tmp_path, 24)]
  assert result.moments == sum(map(statistics.measure, stored), start=statistics.Moments())
  assert result.moments.pixels == 5 * 24 * 32


def test_order_of_arrival_does_not_matter(convert, paint, save):
  files = {str(at): save(paint(at, 30, 40)) for at in range(9)}
  items = [item(id_) for id_ in files]
  assert convert(items, files) == convert(items[::-1], files)


def test_every_input_is_stored_or_rejected(convert, tmp_path, paint, save, damage_scan):
  good = save(paint(1, 30, 40))
  files = {
    "good": good,
    "empty": b"",
    "cut": good[:300],
    "text": b"hello",
    "large": save(np.zeros((300, 300, 3), np.uint8)),
    "gone": FileNotFoundError(2, "No such file or directory"),
    "locked": PermissionError(13, "Permission denied"),
    "damaged": damage_scan[0],
    "png": save(paint(1, 30, 40), "PNG"),
  }
  items = [item(id_) for id_ in files] + [item("astray", refused=("no_class", "why"))]
  result = convert(items, files, max_pixels=50_000)
  assert {note.id: note.what for note in result.rejected} == {
    "empty": "empty",
    "cut": "truncated",
    "text": "not_an_image",
    "large": "too_large",
    "gone": "unreadable",
    "locked": "unreadable",
    "astray": "no_class",
  }
  assert {note.source for note in result.rejected} == {f"from {n.id}" for n in result.rejected}
  assert {record.id for record in read(tmp_path, 24)} == {"good", "damaged", "png"}
  repaired = {note.id: note.what for note in result.repaired}
  assert repaired == {"damaged": "damaged_scan", "png": "from_png"}


def test_damaged_scans_can_be_rejected(convert, damage_scan):
  files = {"damaged": damage_scan[0]}
  result = convert([item("damaged")], files, damaged_jpeg="reject")
  assert [note.what for note in result.rejected] == ["damaged"]
  assert result.repaired == ()


def test_second_use_of_an_id_is_an_error(convert, tmp_path, paint, save):
  files = {"a": save(paint(1, 30, 40))}
  twice = [item("a"), dataclasses.replace(item("a"), origin="elsewhere")]
  with pytest.raises(errors.RejectedInputError, match="used twice, by elsewhere and from a"):
    convert(twice, files)
  assert [os.listdir(folder) for folder in tmp_path.iterdir()] == [[], []]


def test_failing_disk_is_not_the_image_s_fault(convert, tmp_path):
  with pytest.raises(errors.EnvironmentFault, match="cannot read from a: Input/output error"):
    convert([item("a")], {"a": OSError(5, "Input/output error")})
  assert [os.listdir(folder) for folder in tmp_path.iterdir()] == [[], []]
