import collections
import dataclasses
import gzip
import json
import os
import re
import struct

import google_crc32c
import pytest
import tensorflow as tf

from tests import samples
from vggtf import errors, manifest, records, schema
from vggtf.data import shards

FILE = "scale_32/train-00001-of-00003"


def opened(folder) -> shards.Shards:
  found = shards.Shards(str(folder), "train")
  found.at_scale(32)
  return found


def refused(folder, message: str, kind=errors.IntegrityError):
  with pytest.raises(kind, match=message) as caught:
    opened(folder)
  assert not isinstance(caught.value, OSError)


def rewrite(folder, content: bytes):
  """Puts another file in FILE's place and into the manifest: what no size can tell."""
  (folder / FILE).write_bytes(content)
  path = folder / manifest.NAME
  written = manifest.from_json(path.read_text(), str(path))
  files = [
    dataclasses.replace(shard, bytes=len(content)) if shard.path == FILE else shard
    for shard in written.shards["scale_32/train"]
  ]
  changed = dataclasses.replace(written, shards=written.shards | {"scale_32/train": tuple(files)})
  path.write_text(changed.to_json())


def test_numbers_follow_the_order_of_the_files_at_every_scale(data_set):
  found = shards.Shards(data_set, "train")
  for scale in (32, 40):
    files = sorted(tf.io.gfile.glob(f"{data_set}/scale_{scale}/train-*"))
    stored = [
      schema.decode(data, "a") for data in tf.data.TFRecordDataset(files).as_numpy_iterator()
    ]
    assert [found.read(number, scale) for number in range(found.count)] == stored
    assert all(min(record.height, record.width) == record.scale == scale for record in stored)
  ids = [[found.read(number, scale).id for number in range(48)] for scale in (32, 40)]
  assert ids[0] == ids[1]
  assert sorted(ids[0]) == [f"train/{at:05d}" for at in range(48)]


def test_preloading_reads_every_byte_of_the_scales_asked_for(data_set, monkeypatch):
  found, seen = shards.Shards(data_set, "train"), collections.Counter()

  class File(bytes):
    def __getitem__(self, where):
      seen[len(self)] += len(range(*where.indices(len(self))))
      return super().__getitem__(where)

  for scale in (32, 40):
    opened = found.at_scale(scale)
    opened.files[:] = [File(file[:]) for file in opened.files]
  monkeypatch.setattr(shards, "_CHUNK", 1000)
  found.preload([40])
  assert seen == {len(file): len(file) for file in found.at_scale(40).files}


def test_more_than_fits_into_memory_is_not_preloaded(data_set, monkeypatch):
  found = shards.Shards(data_set, "train")
  size = sum(len(file) for file in found.at_scale(32).files)
  monkeypatch.setattr(shards, "_free_memory", lambda: size)
  found.preload([32])
  with pytest.raises(errors.EnvironmentFault, match=r"preload: the images of .* leave it at False"):
    found.preload([32, 40])


def test_free_memory_is_a_part_of_all_memory():
  pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  assert 0 < shards._free_memory() <= pages


def test_an_empty_split_of_empty_files_is_a_split(tmp_path):
  found = shards.Shards(samples.digits_like(tmp_path, train=5, validation=0), "validation")
  found.at_scale(32)
  assert found.count == 0


@pytest.mark.parametrize(
  ("wanted", "nearest"),
  [(1, 256), (256, 256), (313, 256), (314, 384), (384, 384), (443, 384), (444, 512), (900, 512)],
)
def test_the_nearest_scale_is_that_of_the_smallest_ratio(data_set, wanted, nearest):
  found = shards.Shards(data_set, "train")
  found.scales = (256, 384, 512)
  assert found.nearest_scale(wanted) == nearest


def test_of_two_scales_as_near_the_larger_is_taken(data_set):
  found = shards.Shards(data_set, "train")
  found.scales = (128, 512)
  assert found.nearest_scale(256) == 512


@pytest.mark.parametrize(
  ("scales", "wanted", "nearest", "sufficient"),
  [
    ((0,), 1, 0, 0),
    ((0,), 256, 0, 0),
    ((0, 256), 1, 256, 256),
    ((0, 256), 256, 256, 256),
    ((0, 256), 257, 0, 0),
    ((0, 256, 512), 300, 256, 512),
    ((0, 256, 512), 512, 512, 512),
    ((0, 256, 512), 513, 0, 0),
    ((256, 512), 513, 512, 512),
  ],
)
def test_originals_are_read_where_nothing_else_is_as_large(
  data_set, scales, wanted, nearest, sufficient
):
  found = shards.Shards(data_set, "train")
  found.scales = scales
  assert found.nearest_scale(wanted) == nearest
  assert found.sufficient_scale(wanted) == sufficient


@pytest.mark.parametrize(
  ("scales", "wanted", "warned"),
  [((256,), 257, True), ((256,), 256, False), ((0, 256), 512, False), ((256, 384), 512, True)],
)
def test_pictures_that_must_be_enlarged_are_warned_of(data_set, caplog, scales, wanted, warned):
  found = shards.Shards(data_set, "train")
  found.scales = scales
  found.warn_of_enlarging(wanted)
  told = [f"of smallest side {wanted} are wanted" in message for message in caplog.messages]
  assert told == [True] * warned


def test_a_missing_file_is_named(damaged):
  (damaged / FILE).unlink()
  refused(damaged, rf"{FILE} is missing, the manifest lists it; restore it or convert again")


@pytest.mark.parametrize(
  "damage",
  [
    lambda data: b"",
    lambda data: data[:-1],
    lambda data: data[: 12 + 5],
    lambda data: data + b"\0",
    lambda data: data + data,
  ],
)
def test_a_file_of_another_length_is_named_with_both(damaged, damage):
  data = (damaged / FILE).read_bytes()
  (damaged / FILE).write_bytes(damage(data))
  refused(damaged, rf"{FILE} has {len(damage(data))} bytes, the manifest says {len(data)}")


def test_a_file_of_zeros_is_named(damaged):
  size = (damaged / FILE).stat().st_size
  (damaged / FILE).write_bytes(b"\0" * size)
  refused(damaged, rf"{FILE}: not a TFRecord \(starts with 00 00 00\)")


def test_a_file_cut_at_a_record_and_filled_up_is_named(damaged):
  data = (damaged / FILE).read_bytes()
  (_, _), (second, _), *_ = records.scan(data, FILE).tolist()
  (damaged / FILE).write_bytes(data[: second - 12] + b"\0" * (len(data) - second + 12))
  refused(damaged, rf"{FILE}: damaged: wrong checksum at byte {second - 12}")


def test_records_lost_or_added_are_told_by_the_manifest_s_count(damaged):
  data = (damaged / FILE).read_bytes()
  number = len(records.scan(data, FILE))
  rewrite(damaged, data + records.frame(b"more"))
  refused(damaged, rf"{FILE} holds {number + 1} records, the manifest says {number}")
  rewrite(damaged, b"")
  refused(damaged, rf"{FILE} holds 0 records, the manifest says {number}")


@pytest.mark.parametrize("length", [2**33, 2**40, 2**62, 2**64 - 5])
def test_a_huge_length_with_a_right_checksum_is_refused(damaged, length):
  packed = struct.pack("<Q", length)
  crc = google_crc32c.value(packed)
  header = packed + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)
  size = (damaged / FILE).stat().st_size
  (damaged / FILE).write_bytes(header + b"\0" * (size - len(header)))
  refused(damaged, rf"{FILE}: record 0 claims {length} bytes, {size - 16} are left")


@pytest.mark.parametrize(
  ("cut", "said"),
  [
    (lambda data, at: data[: at - 12], r"holds \d+ records, the manifest says \d+"),
    (lambda data, at: data[: at - 5], r"cut short inside the header of record \d+"),
    (lambda data, at: data[: at + 9], r"claims \d+ bytes, 5 are left"),
    (lambda data, at: data + b"\0" * 11, r"cut short inside the header of record \d+"),
  ],
)
def test_a_cut_that_the_manifest_s_size_agrees_with_is_found(damaged, cut, said):
  data = (damaged / FILE).read_bytes()
  rewrite(damaged, cut(data, int(records.scan(data, FILE)[-1][0])))
  refused(damaged, rf"{FILE}.*{said}")


@pytest.mark.parametrize(
  ("other", "start"),
  [
    (lambda data: gzip.compress(data), "1f 8b 08"),
    (lambda data: b"\xff\xd8\xff" + data, "ff d8 ff"),
  ],
)
def test_another_kind_of_file_is_named_as_such(damaged, other, start):
  rewrite(damaged, other((damaged / FILE).read_bytes()))
  refused(damaged, rf"{FILE}: not a TFRecord \(starts with {start}\)")


def test_folders_of_scales_that_changed_places_are_found(damaged):
  os.rename(damaged / "scale_32", damaged / "scale_x")
  os.rename(damaged / "scale_40", damaged / "scale_32")
  os.rename(damaged / "scale_x", damaged / "scale_40")
  refused(damaged, r"scale_32/train-00000-of-00003 has \d+ bytes, the manifest says \d+")


def test_a_flipped_bit_is_named_by_file_record_and_byte_and_spares_the_others(damaged):
  data = bytearray((damaged / FILE).read_bytes())
  spans = records.scan(bytes(data), FILE).tolist()
  offset, length = spans[2]
  data[offset + length // 2] ^= 1
  (damaged / FILE).write_bytes(data)
  found = opened(damaged)
  before = found.manifest.shards["scale_32/train"][0].records
  expected = rf"{FILE} record 2: damaged record: wrong checksum of data at byte {offset}$"
  with pytest.raises(errors.IntegrityError, match=expected):
    found.read(before + 2, 32)
  assert found.read(before + 1, 32).id != found.read(before + 3, 32).id
  assert found.read(before + 2, 40).scale == 40


def with_feature(data: bytes, key: str, kind: str, values: list) -> bytes:
  example = tf.train.Example.FromString(data)
  example.features.feature[key].Clear()
  getattr(example.features.feature[key], kind).value.extend(values)
  return example.SerializeToString()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda d: with_feature(d, "image/id", "int64_list", [1]), "int64_list under .*'image/id'"),
    (lambda d: with_feature(d, "image/encoded", "bytes_list", []), "0 values .*'image/encoded'"),
    (
      lambda d: with_feature(d, "image/class/label", "int64_list", [1, 2]),
      "2 values .*'image/class/label'",
    ),
    (
      lambda d: with_feature(d, "image/class/label", "int64_list", [4]),
      "image/class/label is 4, the manifest has 4 classes",
    ),
    (
      lambda d: with_feature(d, "image/class/label", "int64_list", [-1]),
      "image/class/label is -1, the manifest has 4 classes",
    ),
    (lambda d: b"\x0a\xff garbage \xfe", "not a tf.train.Example"),
  ],
)
def test_a_record_that_breaks_the_contract_is_named_with_the_feature(damaged, change, message):
  stored = list(records.iterate((damaged / FILE).read_bytes(), FILE))
  stored[1] = change(stored[1])
  rewrite(damaged, b"".join(map(records.frame, stored)))
  found = opened(damaged)
  number = found.manifest.shards["scale_32/train"][0].records + 1
  with pytest.raises(errors.IntegrityError, match=rf"{FILE} record 1: .*{message}.*convert the"):
    found.read(number, 32)


def test_a_newer_manifest_is_refused_with_both_versions(damaged):
  path = damaged / manifest.NAME
  newer = dataclasses.replace(manifest.from_json(path.read_text(), "a"), schema_version=9)
  path.write_text(newer.to_json())
  refused(damaged, rf"{re.escape(str(path))} has schema version 9, this program reads 2;")


def test_an_edited_manifest_is_refused(damaged):
  path = damaged / manifest.NAME
  content = json.loads(path.read_text())
  content["splits"]["train"] = 47
  path.write_text(json.dumps(content))
  refused(damaged, r"manifest.json was edited or damaged \(its digest differs\); convert again")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00garbage", b"\0" * 100])
def test_a_manifest_of_garbage_is_refused(damaged, content):
  (damaged / manifest.NAME).write_bytes(content)
  refused(damaged, r"manifest.json is not a manifest of data_tools.convert; convert the data again")


def test_a_folder_without_a_manifest_is_no_data_set(tmp_path):
  for folder in (tmp_path, tmp_path / "missing"):
    refused(folder, r"--data_dir=.* is not a converted data set \(manifest", errors.UsageError)


def test_an_unknown_split_is_refused_with_those_that_exist(data_set):
  with pytest.raises(
    errors.UsageError, match=r"no split 'test'; it has: train, validation.*"
  ) as told:
    shards.Shards(data_set, "test")
  assert "Classification.split = 'validation'" in str(told.value)


@pytest.mark.parametrize("scheme", ["s3", "hdfs", "nonsense"])
def test_a_filesystem_that_tensorflow_lacks_is_named_with_the_cure(scheme):
  expected = rf"TensorFlow has no {scheme}:// filesystem; mount {scheme}://bucket/set/manifest.json"
  refused(f"{scheme}://bucket/set", expected, errors.EnvironmentFault)


def test_a_set_on_another_filesystem_of_tensorflow_is_read_alike(data_set):
  for folder, _, names in tf.io.gfile.walk(data_set):
    target = folder.replace(data_set, "ram://set")
    tf.io.gfile.makedirs(target)
    for name in names:
      tf.io.gfile.copy(f"{folder}/{name}", f"{target}/{name}", overwrite=True)
  near, far = shards.Shards(data_set, "train"), shards.Shards("ram://set", "train")
  for number in range(near.count):
    assert far.read(number, 32) == near.read(number, 32)
