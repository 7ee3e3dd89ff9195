"""Every damage is found, with its file and record, and a whole set has none."""

import dataclasses
import hashlib
import json
import os

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


def test_huge_length_with_a_right_checksum_is_only_a_problem(copied):
  framed = bytearray(records.frame(b""))
  length = (1 << 40).to_bytes(8, "little")
  crc = records._masked_crc(length).to_bytes(4, "little")
  (copied / SHARD).write_bytes(length + crc + bytes(framed[12:]))
  assert any("claims 1099511627776 bytes" in problem for problem in problems(copied))


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
