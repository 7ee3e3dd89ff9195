"""The index against tarfile's own, and every damage that tarfile passes over in silence."""

import contextlib
import gzip
import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_tools.listing import archive
from tests.data_tools import bucket
from vggtf import errors

BLOCK = 512
SIZES = (0, 1, 511, 512, 513, 1024, 5000)


def make_tar(sizes=SIZES, format_=tarfile.GNU_FORMAT, names=None) -> bytes:
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w", format=format_) as tar:
    for at, size in enumerate(sizes):
      entry = tarfile.TarInfo(names[at] if names else f"member_{at}")
      entry.size = size
      tar.addfile(entry, io.BytesIO(bytes([65 + at % 26]) * size))
  return buffer.getvalue()


def headers_of(data: bytes) -> list[int]:
  with tarfile.open(fileobj=io.BytesIO(data)) as tar:
    return [member.offset for member in tar]


@pytest.fixture
def index(tmp_path):
  """Returns a function (bytes of a tar) to the list of its members."""

  def index(data: bytes, offset: int = 0, size: int | None = None) -> list[archive.Member]:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    return list(archive.list_members(str(path), "a.tar", offset, size))

  return index


@pytest.fixture
def stream(tmp_path):
  """Returns a function (bytes of a compressed tar) to [(member, bytes)]."""

  def stream(data: bytes) -> list[tuple[archive.Member, bytes]]:
    path = tmp_path / "a.tgz"
    path.write_bytes(data)
    return list(archive.stream_members(str(path), "a.tgz"))

  return stream


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=300)


@settings(max_examples=60, deadline=None)
@given(
  members=st.lists(st.tuples(NAMES, st.sampled_from(SIZES)), min_size=1, max_size=6),
  format_=st.sampled_from((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
)
def test_index_equals_that_of_tarfile(tmp_path_factory, members, format_):
  names = [f"d/{name}" for name, _ in members]
  data = make_tar([size for _, size in members], format_, names)
  path = tmp_path_factory.mktemp("tar") / "a.tar"
  path.write_bytes(b"before" + data + b"after")
  found = list(archive.list_members(str(path), "a.tar", len(b"before"), len(data)))
  with tarfile.open(fileobj=io.BytesIO(data)) as tar:
    expected = [
      (one.name, one.offset_data + 6, one.size, tar.extractfile(one).read()) for one in tar
    ]
  assert [
    (one.name, one.offset, one.size, archive.read_range(str(path), one.offset, one.size, one.name))
    for one in found
    if not one.unsafe
  ] == [one for one in expected if one[0] != "d/.."]
  path.write_bytes(gzip.compress(data))
  streamed = list(archive.stream_members(str(path), "a.tgz"))
  assert [(one.name, content) for one, content in streamed if not one.unsafe] == [
    (name, content) for name, _, _, content in expected if name != "d/.."
  ]


def test_archive_in_an_archive_in_a_bucket(tmp_path, monkeypatch):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path)
  inner = make_tar((700, 3))
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as tar:
    entry = tarfile.TarInfo("inner.tar")
    entry.size = len(inner)
    tar.addfile(entry, io.BytesIO(inner))
  (tmp_path / "b").mkdir()
  (tmp_path / "b" / "outer.tar").write_bytes(buffer.getvalue())
  path = "bucket://b/outer.tar"
  (outer,) = archive.list_members(path, "outer.tar")
  members = list(archive.list_members(path, "inner.tar", outer.offset, outer.size))
  assert [
    archive.read_range(path, member.offset, member.size, member.name) for member in members
  ] == [b"A" * 700, b"B" * 3]


@pytest.mark.parametrize("at", [0, 3, len(SIZES) - 1])
def test_cut_on_a_member_boundary(index, stream, at):
  data = make_tar()
  data = data[: headers_of(data)[at]]
  with tarfile.open(fileobj=io.BytesIO(data)) if at else contextlib.nullcontext(()) as tar:
    assert len(list(tar)) == at  # tarfile says nothing
  said = rf"ends at byte {len(data)} without end-of-archive marker: {at} members read"
  if not at:
    said = "no tar"
  with pytest.raises(errors.IntegrityError, match=said):
    index(data)
  with pytest.raises(errors.IntegrityError, match=said):
    stream(gzip.compress(data))


@pytest.mark.parametrize("blocks", [0, 1])
def test_end_of_archive_is_two_blocks(index, stream, blocks):
  data = make_tar()
  end = headers_of(data)[-1] + BLOCK + 5120 + blocks * BLOCK
  for read, cut in ((index, data[:end]), (stream, gzip.compress(data[:end]))):
    with pytest.raises(errors.IntegrityError, match=f"ends at byte {end} without.*7 members"):
      read(cut)
  assert len(index(data[: end + (2 - blocks) * BLOCK])) == len(SIZES)


@pytest.mark.parametrize("at", [3, 5, len(SIZES) - 1])
@pytest.mark.parametrize("left", [1, 100, BLOCK, BLOCK + 1])
def test_cut_inside_a_member(index, stream, at, left):
  data = make_tar()
  data = data[: headers_of(data)[at] + left]
  for read, cut in ((index, data), (stream, gzip.compress(data))):
    with pytest.raises(errors.IntegrityError, match="ends"):
      read(cut)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), format_=st.sampled_from((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))
def test_flipped_header_never_loses_a_member(tmp_path_factory, data, format_):
  whole = make_tar(format_=format_, names=["a" * 150, *map(str, range(1, len(SIZES)))])
  header = data.draw(st.sampled_from(headers_of(whole)))
  position = header + data.draw(st.integers(0, BLOCK - 1))
  flipped = bytearray(whole)
  flipped[position] ^= 1 << data.draw(st.integers(0, 7))
  path = tmp_path_factory.mktemp("tar") / "a.tar"
  path.write_bytes(whole)
  expected = list(archive.list_members(str(path), "a.tar"))
  path.write_bytes(flipped)
  try:
    found = list(archive.list_members(str(path), "a.tar"))
  except errors.IntegrityError as error:
    found, said = None, str(error)
  if found is None:
    assert f"at byte {header}; {len(whole) - header} bytes unread" in said
  else:
    assert found == expected  # the space after a checksum means nothing


@pytest.mark.parametrize("at", [0, 3, len(SIZES) - 1])
def test_zeroed_header_is_no_end(index, stream, at):
  data = bytearray(make_tar())
  header = headers_of(data)[at]
  data[header : header + BLOCK] = bytes(BLOCK)
  for read, damaged in ((index, bytes(data)), (stream, gzip.compress(data))):
    with pytest.raises(errors.IntegrityError, match=f"header at byte {header}.*{at} members"):
      read(damaged)


def test_two_zero_blocks_in_the_middle_are_no_end(index):
  data = make_tar()
  with pytest.raises(errors.IntegrityError, match="zeros, and then more"):
    index(data + data)  # cat a.tar b.tar: GNU tar, too, reads the first alone


def test_a_long_tail_of_zeros_was_never_written(index):
  data = make_tar()
  assert len(index(data + bytes(1 << 19))) == len(SIZES)
  with pytest.raises(errors.IntegrityError, match="more than 1048576 zeros"):
    index(data + bytes(1 << 21))


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (b"", "ends at byte 0 without|no tar"),
    (b"not a tar", "no tar"),
    (b"\xff\xd8\xff" + b"x" * 2000, "no tar, or a damaged header at byte 0; 2003 bytes unread"),
    (bytes(10240), "no members"),
  ],
)
def test_what_is_no_archive(index, stream, content, said):
  for read, data in ((index, content), (stream, gzip.compress(content))):
    with pytest.raises(errors.IntegrityError, match=said.partition(";")[0]):
      read(data)


@pytest.mark.parametrize(
  ("start", "cure"), [(gzip.compress(b"x", mtime=0), "gunzip"), (b"BZh91AY", "bunzip2")]
)
def test_compressed_archives_have_no_index(index, start, cure):
  with pytest.raises(errors.UsageError, match=f"is compressed.*run {cure} on it"):
    index(start + bytes(1000))


def test_unsafe_members_are_marked_and_folders_left_out(index, stream):
  kinds = {
    "../../etc/passwd": (tarfile.REGTYPE, "leads out"),
    "/etc/passwd": (tarfile.REGTYPE, "leads out"),
    "a/../../b": (tarfile.REGTYPE, "leads out"),
    "symlink": (tarfile.SYMTYPE, "link to 'target'"),
    "hardlink": (tarfile.LNKTYPE, "link to 'target'"),
    "device": (tarfile.CHRTYPE, "a device"),
    "pipe": (tarfile.FIFOTYPE, "a device"),
    "sparse": (tarfile.GNUTYPE_SPARSE, "sparse"),
    "of no known type": (b"!", "special"),
    "folder": (tarfile.DIRTYPE, None),
    "file..name": (tarfile.REGTYPE, ""),
  }
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode="w") as tar:
    for name, (kind, _) in kinds.items():
      entry = tarfile.TarInfo(name)
      entry.type, entry.linkname = kind, "target"
      tar.addfile(entry)
  members = index(buffer.getvalue())
  assert [member.name for member in members] == [n for n in kinds if n != "folder"]
  for member in members:
    said = kinds[member.name][1]
    assert said in member.unsafe
    assert bool(said) == bool(member.unsafe)
  assert [member for member, _ in stream(gzip.compress(buffer.getvalue()))] == members


def test_names_that_are_not_text(index):
  data = bytearray(make_tar((3,), names=["abc.jpg"]))
  data[0] = 0xFF
  checksum = 256 + sum(data[:148]) + sum(data[156:BLOCK])
  data[148:156] = b"%06o\0 " % checksum
  assert [member.name for member in index(bytes(data))] == ["\\xffbc.jpg"]


@pytest.mark.parametrize("at", [0, 4])  # of no bytes, of some
@pytest.mark.parametrize("size", [b"\xff" * 12, b"\xff" * 10 + b"\x80\x00", b"\x80" + b"\xff" * 11])
def test_hostile_sizes_end_in_an_error(index, at, size):
  """A negative size makes tarfile go back, and round for ever."""
  data = bytearray(make_tar())
  header = headers_of(data)[at]
  data[header + 124 : header + 136] = size
  checksum = 256 + sum(data[header : header + 148]) + sum(data[header + 156 : header + BLOCK])
  data[header + 148 : header + 156] = b"%06o\0 " % checksum
  with pytest.raises(errors.IntegrityError, match=r"bytes unread|ends at byte"):
    index(bytes(data))


def test_a_header_does_not_fill_the_memory(index):
  entry = tarfile.TarInfo("x")
  entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
  with pytest.raises(errors.IntegrityError, match="a header of 1099511627776 bytes"):
    index(make_tar((3,))[:1024] + entry.tobuf(tarfile.GNU_FORMAT) + bytes(2048))


def test_endless_long_names_end_in_an_error(index):
  entry = tarfile.TarInfo("x")
  entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1
  with pytest.raises(errors.IntegrityError, match="no tar"):
    index((entry.tobuf() + b"y".ljust(BLOCK, b"\0")) * 5000)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.99])
def test_cut_gzip(stream, kept):
  data = gzip.compress(make_tar(SIZES * 50))
  assert len(stream(data)) == 7 * 50
  with pytest.raises(errors.IntegrityError, match="cut or damaged gzip"):
    stream(data[: int(kept * len(data))])


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_gzip(tmp_path_factory, place, bit):
  whole = make_tar(SIZES * 5)
  data = bytearray(gzip.compress(whole))
  data[int(place * len(data))] ^= 1 << bit
  path = tmp_path_factory.mktemp("tgz") / "a.tgz"
  path.write_bytes(data)
  try:
    found = list(archive.stream_members(str(path), "a.tgz"))
  except errors.IntegrityError:
    return
  assert gzip.decompress(data) == whole  # the flip is in what gzip's header says of the file
  assert len(found) == 7 * 5


def test_annotations_may_have_been_unpacked_on_the_way(stream):
  assert [data for _, data in stream(make_tar((2, 600)))] == [b"AA", b"B" * 600]


def test_large_members_are_not_read_whole(stream, monkeypatch):
  monkeypatch.setattr(archive, "_MAX_STREAMED", 4000)
  with pytest.raises(errors.IntegrityError, match="'member_6' has 5000 bytes, expected at most"):
    stream(gzip.compress(make_tar()))


def test_file_that_became_shorter(tmp_path):
  path = tmp_path / "a.tar"
  path.write_bytes(make_tar((700,)))
  (member,) = archive.list_members(str(path), "a.tar")
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(errors.IntegrityError, match="x: 488 of 700 bytes"):
    archive.read_range(str(path), member.offset, member.size, "a.tar/x")


def test_memory_does_not_grow_with_the_members(tmp_path):
  def peak(members: int) -> int:
    path = tmp_path / "a.tar"
    path.write_bytes(make_tar((0,) * members))
    tracemalloc.start()
    assert sum(1 for _ in archive.list_members(str(path), "a.tar")) == members
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest

  peak(10)  # what is imported and allocated once
  assert peak(4000) < peak(100) + 200_000
