"""Lists of validation labels: the three forms that go round, and what is wrong with others."""

import pytest

from data_tools.listing import ilsvrc_labels
from data_tools.listing.ilsvrc_devkit import Devkit
from vggtf import errors

DEVKIT = Devkit((("n1", "a"), ("n2", "b")), {1: "n2", 2: "n1"}, {}, (2, 2, 1))


@pytest.fixture
def write(tmp_path):
  def write(text) -> str:
    path = tmp_path / "labels"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)

  return write


@pytest.mark.parametrize(
  ("name", "number"),
  [
    ("ILSVRC2012_val_00000001.JPEG", 1),
    ("a.tar/val/ILSVRC2012_val_00050000.JPEG", 50_000),
    ("ILSVRC2012_val_00048981", 48_981),
    ("ILSVRC2012_val_00048981.xml", 48_981),
    ("ILSVRC2012_val_000489811.JPEG", None),
    ("ILSVRC2012_val_1.JPEG", None),
    ("ILSVRC2012_test_00000001.JPEG", None),
    ("x", None),
  ],
)
def test_numbers_of_names(name, number):
  assert ilsvrc_labels.find_number(name) == number


def test_the_devkit_s_own():
  assert ilsvrc_labels.of_devkit(DEVKIT) == {1: "n1", 2: "n1", 3: "n2"}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_three_forms(write, end):
  expected = {1: "n1", 2: "n2", 3: "n1"}
  wnids = write(end.join(["n1", "n2", "n1", ""]))
  assert ilsvrc_labels.read_validation(wnids, None) == expected
  ids = write(end.join(["2", "1", "2"]))
  assert ilsvrc_labels.read_validation(ids, DEVKIT) == expected
  rows = (
    "ImageId,PredictionString",
    "ILSVRC2012_val_00000003,n1 85 1 499 272 ",
    "ILSVRC2012_val_00000001,n1 1 2 3 4 n1 5 6 7 8 ",
    "ILSVRC2012_val_00000002,n2 1 2 3 4",
  )
  assert ilsvrc_labels.read_validation(write(end.join(rows)), None) == expected


@pytest.mark.parametrize(
  ("text", "said"),
  [
    (b"\xff\xfe", "not UTF-8"),
    ("1\n2\n", "which only the devkit explains"),
    ("ImageId,PredictionString\nILSVRC2012_val_00000003,\n", "line 2: got"),
    ("ImageId,PredictionString\nx,n1 1 2 3 4\n", "line 2: got 'x,n1 1 2 3 4'"),
    ("ImageId,PredictionString\n" + "ILSVRC2012_val_00000003,n1 1\n" * 2, "1 are there more than"),
  ],
)
def test_lists_that_are_refused(write, text, said):
  with pytest.raises(errors.UsageError, match=said):
    ilsvrc_labels.read_validation(write(text), None)


def test_ids_that_the_devkit_lacks(write):
  with pytest.raises(errors.UsageError, match=r"of no class: \[3\]"):
    ilsvrc_labels.read_validation(write("1\n3\n"), DEVKIT)


def test_missing_file(tmp_path):
  with pytest.raises(errors.UsageError, match="no such file"):
    ilsvrc_labels.read_validation(str(tmp_path / "none"), None)


def test_synset_mapping(write):
  path = write("n02 b, the second\nn01 a\n")
  assert ilsvrc_labels.read_synsets(path) == (("n01", "a"), ("n02", "b, the second"))
  with pytest.raises(errors.UsageError, match="line 2: expected a WNID"):
    ilsvrc_labels.read_synsets(write("n01 a\nn02\n"))
  with pytest.raises(errors.UsageError, match=r"more than once: \['n01'\]"):
    ilsvrc_labels.read_synsets(write("n01 a\nn01 b\n"))
