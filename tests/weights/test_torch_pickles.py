"""Pickles of a few hundred bytes that would keep a reader busy for ever (FAULTS.md P12)."""

import pickle
import struct
import zipfile

import pytest

from vggtf import errors
from vggtf.weights import torch_file

# t = (t, t), twenty times: to hash or print it takes a second, after sixty times for ever. That
# nobody did is told by the message.
DOUBLED = b")" + 20 * b"q\x00h\x00\x86"
INFINITE = b"G" + struct.pack(">d", float("inf"))
BEFORE = torch_file.LEGACY + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


def text(value: str) -> bytes:
  return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
  return pickle.dumps(value, 2)[2:-1]


def numbers(*values: int) -> bytes:
  return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor(key=text("0"), count=number(2), offset=number(0), shape=None, strides=None):  # noqa: B008
  """Returns a state dict's program, of one tensor, from parts that are programs."""
  program = b"}" + text("x") + b"ctorch._utils\n_rebuild_tensor_v2\n(("
  program += text("storage") + b"ctorch\nFloatStorage\n" + key + text("cpu") + count + b"tQ"
  return program + offset + (shape or numbers(2)) + (strides or numbers(1)) + b"\x89}tRs"


@pytest.mark.parametrize(
  ("program", "told"),
  [
    (b"}" + DOUBLED + b"Ns", "neither a text nor a number"),
    (b"}(" + DOUBLED + b"Nu", "neither a text nor a number"),
    (b"}" + text("x") + b"}" + DOUBLED + b"Nss", "neither a text nor a number"),
    (b"}" + DOUBLED + text("x") + b"\x93Ns", "neither a text nor a number"),
    (DOUBLED + text("x") + b"\x93", "neither a text nor a number"),
    (text("x") + DOUBLED + b"\x93", "neither a text nor a number"),
    (text("x" * 300) + text("y") + b"\x93", "too long a name"),
    (tensor(key=DOUBLED), "not described as such"),
    (tensor(count=DOUBLED), "not described as such"),
    (tensor(count=INFINITE), "not described as such"),
    (tensor(offset=DOUBLED), "whole numbers"),
    (tensor(shape=DOUBLED + b"\x85"), "whole numbers"),
    (tensor(shape=numbers(2**40), strides=DOUBLED + b"\x85"), "whole numbers"),
    (tensor(shape=b"]" + number(2) + b"a"), "not described as one"),  # each tensor would copy it
    (tensor(shape=numbers(*[1] * 65), strides=numbers(*[1] * 65)), "not described as one"),
    (tensor(shape=numbers(1), strides=numbers(2**80)), "cannot be read"),
  ],
)
def test_nothing_is_walked_that_was_not_looked_at(tmp_path, program, told):
  with zipfile.ZipFile(tmp_path / "x.pth", "w") as file:
    file.writestr("a/data.pkl", b"\x80\x02" + program + b".")
    file.writestr("a/data/0", bytes(8))
  with pytest.raises(errors.IntegrityError, match=told):
    torch_file.read(tmp_path / "x.pth")


def test_what_they_are_made_of_is_read(tmp_path):
  with zipfile.ZipFile(tmp_path / "x.pth", "w") as file:
    file.writestr("a/data.pkl", b"\x80\x02" + tensor(key=number(0)) + b".")
    file.writestr("a/data/0", struct.pack("<2f", 1, 2))
  assert torch_file.read(tmp_path / "x.pth")["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
  ("after", "told"),
  [
    (pickle.dumps({}, 2) + b"\x80\x02]" + DOUBLED + b"a.", "neither a text nor a number"),
    (b"\x80\x04\x8d" + struct.pack("<Q", 2**62), "cannot be read"),  # a text of so many bytes
  ],
)
def test_nor_in_the_older_format(tmp_path, after, told):
  (tmp_path / "x.pth").write_bytes(BEFORE + after)
  with pytest.raises(errors.IntegrityError, match=told):
    torch_file.read(tmp_path / "x.pth")
