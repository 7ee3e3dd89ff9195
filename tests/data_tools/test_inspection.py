"""Every damage is found, with its file and record, and a whole set has none."""

import dataclasses
import gzip
import hashlib
import json
import os
import subprocess
import sys

import google_crc32c
import numpy as np
import pytest

from data_tools import inspection, pixels, sharding, tfds_metadata
from vggtf import errors, manifest, records, schema

SHARD = "scale_32/train-00001-of-00003"


def problems(folder, decode=None) -> list[str]:
  return [
    str(problem) for part in inspection.inspect(str(folder), decode) for problem in part.problems
  ]


def change_manifest(folder, **changes):
  """Changes the manifest and what is derived from it alone, so that only the rest can tell."""
  content = manifest.from_json((folder / "manifest.json").read_text(), "x")
  content = dataclasses.replace(content, **changes)
  (folder / "manifest.json").write_text(content.to_json())
  for scale in content.scales:
    for name, text in tfds_metadata.describe(content, scale).items():
      (folder / f"scale_{scale}" / name).write_text(text)


def rewrite(folder, change, shard=SHARD):
  """Changes one shard's records, and the manifest so that only the records can tell."""
  path = folder / shard
  stored = [schema.decode(data, shard) for data in records.iterate(path.read_bytes(), shard)]
  data = b"".join(
    records.frame(item if isinstance(item, bytes) else schema.encode(item))
    for item in change(stored)
  )
  replace_file(folder, data, len(records.scan(data, shard)), shard)


def replace_file(folder, data: bytes, number: int, shard=SHARD):
  """Puts another file in a shard's place, with a manifest that knows its size and digest."""
  (folder / shard).write_bytes(data)
  entry = manifest.Shard(shard, number, len(data), hashlib.sha256(data).hexdigest())
  shards = manifest.from_json((folder / "manifest.json").read_text(), "x").shards
  name = next(name for name, files in shards.items() if shard in [file.path for file in files])
  files = tuple(entry if file.path == shard else file for file in shards[name])
  change_manifest(folder, shards=shards | {name: files})


@pytest.mark.parametrize("decode", [None, 0, 2])
def test_whole_set_has_no_problem(converted, decode):
  parts = list(inspection.inspect(str(converted), decode))
  assert [part.problems for part in parts] == [()] * 5
  assert [(part.name, part.files, part.records) for part in parts] == [
    ("scale_32/train", 3, 30),
    ("scale_32/validation", 2, 12),
    ("scale_40/train", 3, 30),
    ("scale_40/validation", 2, 12),
    ("beside", 10, 0),
  ]
  decoded = {None: 30, 0: 0, 2: 6}[decode]
  assert parts[0].decoded == decoded


def test_missing_shard_is_named(copied):
  (copied / SHARD).unlink()
  assert [p.split(";")[0] for p in problems(copied)] == [f"{SHARD}: missing"]


@pytest.mark.parametrize("left", [0, 5, 11, 500, -1])
def test_cut_shard_is_named(copied, left):
  data = (copied / SHARD).read_bytes()
  (copied / SHARD).write_bytes(data[:left])
  found = problems(copied)
  size = len(data[:left])
  assert found[0].startswith(f"{SHARD}: has {size} bytes, the manifest says {len(data)}")
  assert all(SHARD in problem for problem in found)


def test_cut_between_records_is_named(copied):
  data = (copied / SHARD).read_bytes()
  offset, _ = records.scan(data, SHARD)[-1]
  (copied / SHARD).write_bytes(data[: offset - 12])
  number = len(records.scan(data, SHARD))
  assert f"{SHARD}: holds {number - 1} records, the manifest says {number}" in problems(copied)[1]


def test_flipped_bit_is_named_with_its_record(copied):
  data = bytearray((copied / SHARD).read_bytes())
  offset, length = records.scan(bytes(data), SHARD)[2]
  data[offset + length // 2] ^= 1
  (copied / SHARD).write_bytes(data)
  first, second = problems(copied)
  assert first.startswith(f"{SHARD}: its sha256 is not the manifest's")
  assert second.startswith(f"{SHARD}, record 2: damaged record: wrong checksum")


def test_flipped_length_is_named(copied):
  data = bytearray((copied / SHARD).read_bytes())
  data[3] ^= 0x40
  (copied / SHARD).write_bytes(data)
  assert f"{SHARD}: not a TFRecord" in problems(copied)[1]


def test_swapped_scale_is_noticed(copied):
  (copied / SHARD).write_bytes((copied / SHARD.replace("32", "40")).read_bytes())
  found = problems(copied, decode=0)
  assert any(
    f"{SHARD}, record 0: " in p and "has the scale 40, its folder is of 32" in p for p in found
  )


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"label": 3}, "has the label 3, expected 0..2"),
    ({"label": -1}, "has the label -1, expected 0..2"),
    ({"synset": "n99"}, "has the class 'n99'"),
    ({"text": "fish"}, "('fish') for its label"),
    ({"height": 33}, ", expected "),
    ({"scale": 40}, "has the scale 40"),
    ({"original_width": 0}, "original size"),
    ({"encoded": b"\xff\xd8\xff"}, "does not decode"),
  ],
  ids=str,
)
def test_wrong_record_is_named(copied, change, said):
  rewrite(
    copied, lambda stored: [*stored[:1], dataclasses.replace(stored[1], **change), *stored[2:]]
  )
  found = problems(copied)
  assert any(said in problem for problem in found), found
  assert all(problem.startswith(SHARD) for problem in found)


def test_scales_with_other_images_are_noticed(copied):
  def rename(stored):
    places = [sharding.order(record.id) for record in stored]
    for at in range(10_000):  # a name that only the other scale can give away
      place = sharding.order(f"another {at}")
      if sharding.choose_shard(place[1], 3) == 1 and places[0] < place < places[2]:
        return [stored[0], dataclasses.replace(stored[1], id=place[1]), *stored[2:]]
    raise AssertionError("no such name")

  rewrite(copied, rename)
  (problem,) = problems(copied)
  assert problem.startswith(f"{SHARD.replace('32', '40')}: holds other images")


def test_image_of_another_size_than_its_record_is_named(copied):
  other = pixels.encode(pixels.decode_stored(_first(copied).encoded)[:-1], 95)
  rewrite(copied, lambda stored: [dataclasses.replace(stored[0], encoded=other), *stored[1:]])
  (problem,) = problems(copied)
  assert f"{SHARD}, record 0: image" in problem
  assert "decodes to" in problem


def _first(folder):
  data = (folder / SHARD).read_bytes()
  return schema.decode(next(records.iterate(data, SHARD)), SHARD)


def test_other_pixels_do_not_have_the_statistics(copied):
  stored = _first(copied)
  black = pixels.encode(pixels.decode_stored(stored.encoded) // 2, 95)
  rewrite(copied, lambda stored: [dataclasses.replace(stored[0], encoded=black), *stored[1:]])
  (problem,) = problems(copied)
  assert problem.startswith("manifest.json: mean (")
  assert problems(copied, decode=1) == []  # only all images have that mean


def test_doubled_record_is_noticed(copied):
  rewrite(copied, lambda stored: [stored[0], *stored])
  assert any("record 1: image" in p and "out of order or double" in p for p in problems(copied))


def test_lost_record_is_noticed(copied):
  rewrite(copied, lambda stored: stored[1:])
  found = problems(copied)
  assert any("scale_32/train: 9 images of class" in problem for problem in found)


def test_foreign_record_is_named(copied):
  rewrite(copied, lambda stored: [stored[0], b"hello world", *stored[2:]])
  assert any(
    p.startswith(f"{SHARD}, record 1: ") and "not a tf.train.Example" in p for p in problems(copied)
  )


@pytest.mark.parametrize(
  ("key", "kind", "values", "said"),
  [
    ("image/encoded", None, [], "has nothing under the key 'image/encoded', expected bytes_list"),
    ("image/class/label", "bytes_list", [b"1"], "has bytes_list under the key 'image/class/label'"),
    ("image/class/label", "int64_list", [1, 2], "has 2 values under the key 'image/class/label'"),
    ("image/class/labels", "int64_list", [9], "has the label 9, expected 0..2"),
    ("image/object/bbox/xmin", "float_list", [0.5], "the keys image/object/bbox/* have [1, 0, 0,"),
  ],
)
def test_record_that_breaks_the_contract_is_named(copied, key, kind, values, said):
  tf = pytest.importorskip("tensorflow")

  def change(stored):
    example = tf.train.Example.FromString(schema.encode(stored[1]))
    example.features.feature[key].Clear()
    if kind:
      getattr(example.features.feature[key], kind).value.extend(values)
    return [stored[0], example.SerializeToString(), *stored[2:]]

  rewrite(copied, change)
  found = problems(copied)
  assert any(problem.startswith(f"{SHARD}, record 1: ") and said in problem for problem in found)


def test_edited_manifest_is_refused(copied):
  path = copied / "manifest.json"
  path.write_text(path.read_text().replace('"train": 30', '"train": 31'))
  with pytest.raises(errors.IntegrityError, match="edited or damaged"):
    problems(copied)
  path.write_text("{")
  with pytest.raises(errors.IntegrityError, match="not a manifest"):
    problems(copied)
  path.unlink()
  with pytest.raises(errors.IntegrityError, match="not a data set, or an incomplete one"):
    problems(copied)


def test_newer_manifest_is_refused_with_both_versions(copied):
  path = copied / "manifest.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
  with pytest.raises(errors.IntegrityError, match="version 99, this program reads 2"):
    problems(copied)


@pytest.mark.parametrize(
  ("name", "text"),
  [
    ("labels.txt", "n01\nn03\nn02\n"),
    ("labels.txt", None),
    ("rejected.jsonl", '{"id": "a", "reason": "empty"}\n'),
    ("rejected.jsonl", "{"),
    ("repaired.jsonl", None),
  ],
)
def test_files_beside_the_shards_are_checked(copied, name, text):
  os.remove(copied / name) if text is None else (copied / name).write_text(text)
  (problem,) = problems(copied)
  assert name in problem


BOX = schema.Box(0.0, 0.25, 0.5, 1.0, 1)


def change_first(copied, **changes):
  rewrite(copied, lambda stored: [dataclasses.replace(stored[0], **changes), *stored[1:]])


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"labels": (0, 3)}, "has the label 3, expected 0..2"),
    ({"uncertain": (-2,)}, "has the label -2, expected 0..2"),
    ({"labels": (2, 1, 0)}, "has image/class/labels (2, 1, 0), expected ascending ones"),
    ({"labels": (0, 0, 1, 2)}, "has image/class/labels (0, 0, 1, 2), expected ascending ones"),
    ({"labels": (0, 1, 2), "uncertain": (1,)}, "some are uncertain too: (1,)"),
    ({"boxes": (BOX, schema.Box(0.5, 0.0, 0.25, 1.0, 0))}, "has a box that is not inside it"),
    ({"boxes": (schema.Box(0.0, 0.0, 0.5, 1.5, 0),)}, "has a box that is not inside it"),
    ({"boxes": (schema.Box(-0.5, 0.0, 0.5, 1.0, 0),)}, "has a box that is not inside it"),
    ({"boxes": (schema.Box(0.0, float("nan"), 0.5, 1.0, 0),)}, "has a box that is not inside it"),
    ({"boxes": (dataclasses.replace(BOX, label=3),)}, "has a box of the class 3, expected 0..2"),
  ],
  ids=str,
)
def test_wrong_classes_and_boxes_are_named(copied, changes, said):
  change_first(copied, **changes)
  found = problems(copied, decode=0)
  assert any(said in problem for problem in found), found
  assert all(problem.startswith(f"{SHARD}, record 0: image") for problem in found), found


def test_label_must_be_the_first_of_all(copied):
  label = _first(copied).label
  others = tuple(at for at in range(3) if at != label)
  change_first(copied, labels=others)
  said = f"has the label {label}, but {others[0]} is the first of all its classes"
  assert said in problems(copied, decode=0)[0]


def test_every_class_of_an_image_counts_and_so_do_its_boxes(copied):
  def widen(stored):
    at = [record.label for record in stored].index(0)
    wide = dataclasses.replace(stored[at], labels=(0, 2), boxes=(BOX, BOX))
    return [*stored[:at], wide, *stored[at + 1 :]]

  for scale in (32, 40):
    rewrite(copied, widen, SHARD.replace("32", str(scale)))
  said = [
    "11 images of class n03, the manifest says 10; convert again",
    "1 images with boxes, the manifest says 0; convert again",
    "2 boxes, the manifest says 0; convert again",
  ]
  assert problems(copied) == [f"scale_{s}/train: {what}" for s in (32, 40) for what in said]
  content = manifest.from_json((copied / "manifest.json").read_text(), "x")
  inputs = dataclasses.replace(content.inputs["train"], boxed=1, boxes=2)
  change_manifest(
    copied,
    class_counts=content.class_counts | {"train": (10, 10, 11)},
    inputs=content.inputs | {"train": inputs},
  )
  assert problems(copied) == []


def test_eigenvectors_must_be_those_of_the_pixels(copied):
  content = manifest.from_json((copied / "manifest.json").read_text(), "x")
  rows = content.statistics.eigenvectors
  turned = dataclasses.replace(content.statistics, eigenvectors=(rows[1], rows[0], rows[2]))
  change_manifest(copied, statistics=turned)
  (problem,) = problems(copied)
  assert "eigenvectors of another covariance" in problem
  assert problems(copied, decode=3) == []


def test_listed_images_must_be_stored_rejected_or_left_out(copied):
  content = manifest.from_json((copied / "manifest.json").read_text(), "x")
  more = dataclasses.replace(content.inputs["train"], images=31)
  change_manifest(copied, inputs=content.inputs | {"train": more})
  said = "31 images were listed for train, 30 are stored and 0 rejected or left out; convert again"
  assert problems(copied) == [f"rejected.jsonl: {said}"]
  note = {"id": "a", "source": "a", "split": "train", "kind": "image", "detail": ""}
  note |= {"reason": "empty"}
  (copied / "rejected.jsonl").write_text(json.dumps(note) + "\n")
  said = "lists {'empty': 1} of kind image, the manifest says {}; convert again"
  assert problems(copied) == [f"rejected.jsonl: {said}"]
  change_manifest(copied, rejected={"empty": 1})
  assert problems(copied) == []
  (copied / "rejected.jsonl").write_text(json.dumps(note | {"split": "validation"}) + "\n")
  assert len(problems(copied)) == 2  # train misses one, validation has one too many
  (copied / "rejected.jsonl").write_text(json.dumps(note | {"kind": "boxes"}) + "\n")
  assert len(problems(copied)) == 3


def test_repairs_are_the_records_own(copied):
  change_first(copied, repairs=("from_cmyk",))
  (problem,) = problems(copied, decode=0)
  assert problem.startswith("repaired.jsonl: lists {'from_png': 1} for train, the records say")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_files_of_tfds_must_be_the_manifest_s(copied, name):
  path = copied / "scale_40" / name
  path.write_text(path.read_text() + " ")
  said = "is not what the converter writes for the manifest; convert again"
  assert problems(copied, decode=0) == [f"scale_40/{name}: {said}"]
  path.unlink()
  assert problems(copied, decode=0) == [f"scale_40/{name}: missing; convert the data again"]


@pytest.mark.parametrize("flags", [(), ("--no_upscale",)])
def test_originals_and_small_images_are_whole(pictures, run_convert, tmp_path, flags):
  assert run_convert(pictures, tmp_path / "set", *flags, scales="0,50") == 0
  parts = list(inspection.inspect(str(tmp_path / "set"), None))
  assert [part.problems for part in parts] == [()] * 5
  assert [part.decoded for part in parts] == [30, 12, 30, 12, 0]


def test_small_images_are_not_those_of_a_set_that_enlarges(pictures, run_convert, tmp_path):
  assert run_convert(pictures, tmp_path, "--no_upscale", scales="50") == 0
  content = manifest.from_json((tmp_path / "manifest.json").read_text(), "x")
  change_manifest(tmp_path, options=content.options | {"upscale": True})
  found = problems(tmp_path, decode=0)
  assert "is 40x61, expected 50x76; convert again" in "".join(found)


SHARDS = [f"scale_32/train-{at:05d}-of-00003" for at in range(3)]  # first, middle, last
HEADER = 12


@pytest.mark.parametrize("shard", SHARDS)
@pytest.mark.parametrize(
  ("damage", "said"),
  [
    (lambda d, at: d[: at - HEADER], "records, the manifest says"),
    (lambda d, at: d[: at - 5], "cut short inside the header"),
    (lambda d, at: d[: at + 9], "bytes, 5 are left"),
    (lambda d, at: d + b"\0" * 5, "cut short inside the header"),
    (lambda d, at: d + d, "records, the manifest says"),
    (lambda d, at: d[: at - HEADER] + bytes(len(d) - at + HEADER), "damaged: wrong checksum"),
    (lambda d, at: bytes(len(d)), "not a TFRecord (starts with 00 00 00)"),
    (lambda d, at: b"", "holds 0 records"),
    (lambda d, at: flip(d, at - HEADER + 1), "wrong checksum at byte"),
    (lambda d, at: flip(d, at - 3), "wrong checksum at byte"),
    (lambda d, at: flip(d, at), "wrong checksum of data at byte"),
    (lambda d, at: flip(d, len(d) - 1), "wrong checksum of data at byte"),
    (lambda d, at: gzip.compress(d), "not a TFRecord (starts with 1f 8b 08)"),
    (lambda d, at: b"\xff\xd8\xff\xe0" + d[4:], "not a TFRecord (starts with ff d8 ff)"),
  ],
)
def test_damaged_file_is_named_and_spares_the_others(copied, shard, damage, said):
  data = (copied / shard).read_bytes()
  at = int(records.scan(data, shard)[-1][0])
  (copied / shard).write_bytes(damage(data, at))
  found = problems(copied)
  assert any(said in problem for problem in found), found
  assert all(problem.startswith(shard) for problem in found), found


def flip(data: bytes, at: int) -> bytes:
  return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("length", [2**33, 2**40, 2**62, 2**64 - 5])
def test_huge_length_with_a_right_checksum_does_not_end_the_process(copied, length, repository):
  data = (copied / SHARD).read_bytes()
  packed = length.to_bytes(8, "little")
  crc = google_crc32c.value(packed)
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
  (copied / SHARD).write_bytes(packed + masked.to_bytes(4, "little") + data[HEADER:])
  command = [sys.executable, "-m", "data_tools.verify", f"--input={copied}"]
  done = subprocess.run(command, capture_output=True, text=True, cwd=repository)
  assert done.returncode == 4
  assert f"{SHARD}: record 0 claims {length} bytes, {len(data) - 16} are left" in done.stdout
  assert "Traceback" not in done.stderr


def test_no_byte_of_what_readers_take_can_change_or_go(copied):
  random = np.random.RandomState(0)
  files = [path for path in sorted(copied.rglob("*")) if path.is_file()]
  for path in files:
    if path.suffix == ".jsonl":  # of these what counts is checked, not how it is told
      continue
    data = path.read_bytes()
    for at in random.randint(0, len(data), 3).tolist():
      for damaged in (flip(data, at), data[:at]):
        path.write_bytes(damaged)
        assert names_it(copied, path), (path, at)
    path.write_bytes(data)
  assert problems(copied, decode=0) == []


def names_it(folder, path) -> bool:
  try:
    found = problems(folder, decode=0)
  except errors.IntegrityError as error:
    return str(path) in str(error)
  return any(problem.startswith(path.relative_to(folder).as_posix()) for problem in found)
