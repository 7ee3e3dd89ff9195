import struct

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf

from vggtf import errors, records

DATA = [b"", b"a", bytes(range(256)) * 5, b"\0" * 31, b"\xff\xd8\xff" * 400]
OURS = b"".join(map(records.frame, DATA))
BOUNDARIES = np.cumsum([0] + [len(data) + records.OVERHEAD for data in DATA]).tolist()
HEADER = 12


def write_by_tensorflow(path) -> bytes:
  with tf.io.TFRecordWriter(str(path)) as writer:
    for data in DATA:
      writer.write(data)
  return path.read_bytes()


def read(buffer) -> list[bytes]:
  return list(records.iterate(buffer, "train-00000"))


def flipped(at: int) -> bytes:
  buffer = bytearray(OURS)
  buffer[at] ^= 0x10
  return bytes(buffer)


def with_valid_checksum(length: int) -> bytes:
  packed = struct.pack("<Q", length)
  crc = google_crc32c.value(packed)
  return packed + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32)


def test_frames_are_the_bytes_that_tensorflow_writes(tmp_path):
  assert write_by_tensorflow(tmp_path / "a") == OURS


def test_tensorflow_reads_what_we_frame(tmp_path):
  (tmp_path / "a").write_bytes(OURS)
  assert list(tf.data.TFRecordDataset(str(tmp_path / "a")).as_numpy_iterator()) == DATA


def test_we_read_what_tensorflow_writes(tmp_path):
  assert read(write_by_tensorflow(tmp_path / "a")) == DATA


def test_scan_gives_each_record_s_place():
  spans = records.scan(OURS, "a")
  assert spans.dtype == np.int64
  assert [OURS[at : at + length] for at, length in spans.tolist()] == DATA


def test_an_empty_file_holds_no_records():
  assert records.scan(b"", "a").shape == (0, 2)


def test_a_cut_is_found_wherever_it_is_and_at_a_boundary_by_the_count():
  for size in range(len(OURS)):
    if size in BOUNDARIES:
      assert len(records.scan(OURS[:size], "a")) == BOUNDARIES.index(size)
      continue
    whole = sum(boundary <= size for boundary in BOUNDARIES) - 1
    with pytest.raises(errors.IntegrityError, match=rf"^train-00000: .*record {whole}\b"):
      records.scan(OURS[:size], "train-00000")


def test_how_much_is_missing_is_told():
  with pytest.raises(errors.IntegrityError, match=r"record 0 claims 5 bytes, 0 are left"):
    records.scan(records.frame(b"hello")[:HEADER], "a")
  with pytest.raises(errors.IntegrityError, match=r"record 0 claims 5 bytes, 3 are left"):
    records.scan(records.frame(b"hello")[:-2], "a")


@pytest.mark.parametrize("record", [0, 2, 4])
@pytest.mark.parametrize("part", range(HEADER))
def test_a_flipped_bit_in_a_header_is_found_by_scan(record, part):
  with pytest.raises(errors.IntegrityError, match=rf"checksum at byte {BOUNDARIES[record]}$"):
    records.scan(flipped(BOUNDARIES[record] + part), "a")


@pytest.mark.parametrize("record", [1, 2, 4])
def test_a_flipped_bit_in_data_or_its_checksum_is_found_by_reading(record):
  data = BOUNDARIES[record] + HEADER
  for at in (data, BOUNDARIES[record + 1] - 5, BOUNDARIES[record + 1] - 1):
    damaged = flipped(at)
    assert len(records.scan(damaged, "a")) == len(DATA)
    with pytest.raises(errors.IntegrityError, match=rf"^train-00000: .* of data at byte {data}$"):
      read(damaged)


@pytest.mark.parametrize("tail", [b"\0" * n for n in (1, 5, 11, 12, 16, 4096)] + [b"garbage" * 5])
def test_anything_after_the_last_record_is_found(tail):
  with pytest.raises(errors.IntegrityError, match=r"record 5|at byte \d+"):
    records.scan(OURS + tail, "a")


@pytest.mark.parametrize("length", [2**33, 2**40, 2**62, 2**63, 2**64 - 5, 2**64 - 1])
def test_a_huge_length_with_a_right_checksum_is_refused_without_allocating(length):
  with pytest.raises(errors.IntegrityError, match=rf"record 5 claims {length} bytes, 96 are left"):
    records.scan(OURS + with_valid_checksum(length) + b"\0" * 100, "a")


@pytest.mark.parametrize(
  ("start", "shown"),
  [(b"\x1f\x8b\x08\0", "1f 8b 08"), (b"\xff\xd8\xff\xe0", "ff d8 ff"), (b"{\n  ", "7b 0a 20")],
)
def test_another_kind_of_file_is_told_apart_from_a_damaged_one(start, shown):
  with pytest.raises(errors.IntegrityError, match=rf"^a: not a TFRecord \(starts with {shown}\)"):
    records.scan(start + b"x" * 100, "a")
