"""One shard: what is written, what is refused, and whose fault an error is."""

import dataclasses
import os

import numpy as np
import pytest

from data_tools import inputs, pixels, sharding, statistics
from data_tools.conversion import convert_shard
from data_tools.job import Job
from data_tools.members import Members
from data_tools.options import Options
from data_tools.progress import Tally
from data_tools.source import Annotation, Item
from tests.data_tools.rendering import Here
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
  def convert(members, files, **options):
    chosen = Options(**{"scales": (24, 40), "shards": (("train", 1),)} | options)
    job = Job(Memory(files), CLASSES, chosen, str(tmp_path))
    tally = Tally("bucket://none", "train-0")
    return convert_shard("train", 0, Members(members), job, Here(chosen), tally)

  return convert


def notes(result, kind):
  return {note.id: note.what for note in result.notes if note.kind == kind}


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


def test_moments_are_of_the_smallest_images(convert, paint, save):
  files = {str(at): save(paint(at, 30, 40)) for at in range(5)}
  result = convert([item(id_) for id_ in files], files)
  small = [pixels.rescale(pixels.decode(data, 10**6, 40).rgb, 24) for data in files.values()]
  assert result.moments == sum(map(statistics.measure, small), start=statistics.Moments())
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
    "below a file": NotADirectoryError(20, "Not a directory"),
    "x" * 300: OSError(36, "File name too long"),
    "damaged": damage_scan[0],
    "png": save(paint(1, 30, 40), "PNG"),
  }
  items = [item(id_) for id_ in files] + [item("astray", refused=("no_class", "why"))]
  result = convert(items, files, max_pixels=50_000)
  assert notes(result, "image") == {
    "empty": "empty",
    "cut": "truncated",
    "text": "not_an_image",
    "large": "too_large",
    "gone": "unreadable",
    "locked": "unreadable",
    "below a file": "unreadable",
    "x" * 300: "unreadable",
    "astray": "no_class",
  }
  assert all(note.source == f"from {note.id}" for note in result.notes)
  assert result.inputs.images == len(items)
  assert {record.id for record in read(tmp_path, 24)} == {"good", "damaged", "png"}
  assert notes(result, "repair") == {"damaged": "damaged_scan", "png": "from_png"}
  repairs = {record.id: record.repairs for record in read(tmp_path, 24)}
  assert repairs == {"good": (), "damaged": ("damaged_scan",), "png": ("from_png",)}


def test_damaged_scans_can_be_rejected(convert, damage_scan):
  files = {"damaged": damage_scan[0]}
  result = convert([item("damaged")], files, damaged_jpeg="reject")
  assert [(note.kind, note.what) for note in result.notes] == [("image", "damaged")]


def test_second_use_of_an_id_is_an_error(convert, tmp_path, paint, save):
  files = {"a": save(paint(1, 30, 40))}
  twice = [item("a"), dataclasses.replace(item("a"), origin="elsewhere")]
  with pytest.raises(errors.RejectedInputError, match="used twice, by elsewhere and from a"):
    convert(twice, files)
  assert os.listdir(tmp_path) == []


def test_failing_disk_is_not_the_image_s_fault(convert, tmp_path):
  with pytest.raises(errors.EnvironmentFault, match="cannot read from a: Input/output error"):
    convert([item("a")], {"a": OSError(5, "Input/output error")})
  assert [os.listdir(folder) for folder in tmp_path.iterdir()] == [[], []]


def test_boxes_join_their_image(convert, tmp_path, paint, save):
  boxes = (schema.Box(0.1, 0.25, 0.5, 1.0, 1), schema.Box(0.0, 0.0, 0.5, 0.5, 0, True))
  files = {name: save(paint(1, 30, 40)) for name in ("boxed", "bare", "spoilt")}
  annotations = [
    Annotation("boxed", "train", "boxed.xml", boxes),
    Annotation("spoilt", "train", "spoilt.xml", refused=("box_dtd", "has a DTD")),
    Annotation("nowhere", "train", "nowhere.xml", boxes),
  ]
  result = convert([*annotations, *(item(id_) for id_ in files)], files)
  for scale in (24, 40):
    found = {record.id: record.boxes for record in read(tmp_path, scale)}
    assert found["bare"] == found["spoilt"] == ()
    assert [(box.label, box.difficult) for box in found["boxed"]] == [(1, False), (0, True)]
    corners = [(box.xmin, box.ymin, box.xmax, box.ymax) for box in found["boxed"]]
    np.testing.assert_allclose(corners, [(0.1, 0.25, 0.5, 1), (0, 0, 0.5, 0.5)], rtol=1e-6)
  assert notes(result, "boxes") == {"spoilt": "box_dtd", "nowhere": "box_without_image"}
  assert (result.boxed, result.boxes, result.inputs.images) == (1, 2, 3)


def test_two_annotations_of_one_image_are_an_error(convert, paint, save):
  twice = [Annotation("a", "train", name) for name in ("a.xml", "b.xml")]
  with pytest.raises(errors.RejectedInputError, match=r"annotation id 'a' is used twice, by a.xml"):
    convert([item("a"), *twice], {"a": save(paint(1, 30, 40))})


def test_images_of_several_classes_count_in_each(convert, tmp_path, paint, save):
  files = {name: save(paint(1, 30, 40)) for name in ("both", "one", "open")}
  result = convert(
    [
      item("both", 0, labels=(0, 1)),
      item("one", 1, labels=(1,)),
      item("open", 0, uncertain=(0,)),
    ],
    files,
  )
  assert result.class_counts == ((0, 1), (1, 2))  # it is open whether the third shows class 0
  found = {record.id: (record.labels, record.uncertain) for record in read(tmp_path, 24)}
  assert found == {"both": ((0, 1), ()), "one": ((1,), ()), "open": ((), (0,))}


def test_what_the_protocol_leaves_out_is_not_read(convert, paint, save):
  files = {"a": save(paint(1, 30, 40)), "b": AssertionError("read")}
  result = convert([item("a"), item("b", left_out=("not_drawn", "31st"))], files)
  assert notes(result, "left_out") == {"b": "not_drawn"}
  assert result.inputs.bytes == len(files["a"])


def test_inputs_are_known_again_by_reading_them(convert, paint, save):
  files = {
    "good": save(paint(1, 30, 40)),
    "bad": b"x",
    "gone": FileNotFoundError(2, "No such file"),
  }
  items = [item(id_) for id_ in files] + [item("astray", refused=("no_class", "why"))]
  members = [*items, item("left", left_out=("not_drawn", "31st")), Annotation("good", "train", "x")]
  result = convert(members, files)
  assert result.inputs == inputs.sum_up(Members(members), Memory(files))
  back = files | {"gone": files["good"]}
  assert result.inputs != inputs.sum_up(Members(members), Memory(back))


def test_original_bytes_are_kept_where_they_are_sound(convert, tmp_path, paint, save):
  files = {"jpeg": save(paint(1, 30, 41), quality=60), "png": save(paint(1, 30, 41), "PNG")}
  convert([item(name) for name in files], files, scales=(0, 24))
  found = {record.id: record for record in read(tmp_path, 0)}
  assert found["jpeg"].encoded == files["jpeg"]
  assert found["png"].encoded == pixels.encode(paint(1, 30, 41), 95)
  assert {(r.scale, r.height, r.width) for r in found.values()} == {(0, 30, 41)}


def test_small_images_can_be_kept_small(convert, tmp_path, paint, save):
  files = {"a": save(paint(1, 30, 41))}
  convert([item("a")], files, upscale=False)
  sizes = {scale: [(r.height, r.width) for r in read(tmp_path, scale)] for scale in (24, 40)}
  assert sizes == {24: [(24, 33)], 40: [(30, 41)]}
