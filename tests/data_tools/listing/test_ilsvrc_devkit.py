"""The devkit: as scipy writes one, and damaged, short or contradicting itself."""

import io
import sys

import pytest
from scipy import io as scipy_io

from data_tools.listing import ilsvrc_devkit
from tests.data_tools import synthetic_ilsvrc
from vggtf import errors

META = f"{synthetic_ilsvrc.DEVKIT}/data/meta.mat"
TRUTH = f"{synthetic_ilsvrc.DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt"

CRASHING = ((384, 7), (1772, 0), (448, 2))  # byte and bit


@pytest.fixture(params=["archive", "folder"])
def read(request, tmp_path):
  """Returns a function ({file: bytes}) that reads such a devkit, packed or not."""

  def read(files) -> ilsvrc_devkit.Devkit:
    if request.param == "folder":
      folder = synthetic_ilsvrc.write(tmp_path, files)
      return ilsvrc_devkit.read(str(folder / synthetic_ilsvrc.DEVKIT))
    path = tmp_path / "devkit.tar.gz"
    path.write_bytes(synthetic_ilsvrc.write_tar(files, "w:gz"))
    return ilsvrc_devkit.read(str(path))

  return read


def test_classes_ids_and_truth(read):
  devkit = read(synthetic_ilsvrc.write_devkit())
  assert devkit.synsets == (
    ("n01440764", "tench, Tinca tinca"),
    ("n02012849", "crane, crane bird"),
    ("n02092002", "Scottish deerhound, deerhound"),
    ("n03126707", "crane"),
  )
  assert devkit.wnids == {1: "n02092002", 2: "n01440764", 3: "n03126707", 4: "n02012849"}
  assert devkit.train_images == dict.fromkeys(devkit.wnids.values(), 30)
  assert devkit.truth == tuple(synthetic_ilsvrc.TRUTH)


def test_groups_of_classes_are_in_the_file(read):
  """As others read it: torchvision's `parse_meta_mat` also drops what has children, by place."""
  meta = synthetic_ilsvrc.write_devkit()[META]
  rows = scipy_io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
  assert len(rows) == len(synthetic_ilsvrc.WORDS) + 2
  leaves = [row for row in rows if row[4] == 0]
  devkit = read(synthetic_ilsvrc.write_devkit())
  assert devkit.wnids == {int(row[0]): row[1] for row in leaves}
  assert dict(devkit.synsets) == {row[1]: row[2] for row in leaves}


def test_one_class_and_unknown_numbers_of_images(read):
  devkit = read(synthetic_ilsvrc.write_devkit({"n00000001": "one"}, 0, [1, 1]))
  assert (devkit.wnids, devkit.train_images) == ({1: "n00000001"}, {})


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({META: b"no mat"}, "is not the meta.mat"),
    ({META: None}, "lacks data/meta.mat"),
    ({TRUTH: None}, "lacks data/ILSVRC2012_validation_ground_truth.txt"),
    ({TRUTH: b"1\n2\nx\n"}, "line 3: got 'x', expected a number"),
    ({TRUTH: b"1\n\xff\n"}, "line 2: got .* expected a number"),
    ({TRUTH: b"1\n5\n0\n"}, r"2 ILSVRC2012_IDs are of no class: \[0, 5\]; the classes have 1..4"),
    ({META: synthetic_ilsvrc.write_meta({"tench": "x"}, 1)}, r"not a WNID: \['tench'\]"),
  ],
)
def test_what_is_wrong_with_a_devkit(read, change, said):
  files = synthetic_ilsvrc.write_devkit() | change
  with pytest.raises(errors.UsageError, match=said):
    read({name: data for name, data in files.items() if data is not None})


@pytest.mark.parametrize(
  ("field", "value", "said"),
  [
    ("ILSVRC2012_ID", 1.0, r"of its 4 classes are not 1\.\.4, each once"),
    ("ILSVRC2012_ID", 7.0, r"of its 4 classes are not 1\.\.4, each once"),
    ("WNID", "n02092002", r"twice, or not a WNID: \['n02092002'\]"),
    ("num_children", "many", "is not the meta.mat"),
  ],
)
def test_contradictions(read, field, value, said):
  files = synthetic_ilsvrc.write_devkit()
  content = scipy_io.loadmat(io.BytesIO(files[META]))
  content["synsets"][field][2, 0] = value
  buffer = io.BytesIO()
  scipy_io.savemat(buffer, {"synsets": content["synsets"]})
  with pytest.raises(errors.UsageError, match=said):
    read(files | {META: buffer.getvalue()})


def test_damaged_meta_is_told(read):
  files = synthetic_ilsvrc.write_devkit()
  for size in (0, 100, 128, 136, 200, len(files[META]) // 2, len(files[META]) - 1):
    with pytest.raises(errors.UsageError, match=r"meta\.mat"):
      read(files | {META: files[META][:size]})


def test_cut_archive(tmp_path):
  path = tmp_path / "devkit.tar.gz"
  path.write_bytes(synthetic_ilsvrc.write_tar(synthetic_ilsvrc.write_devkit(), "w:gz")[:-9])
  with pytest.raises(errors.IntegrityError, match="cut or damaged gzip"):
    ilsvrc_devkit.read(str(path))


def test_without_scipy(read, monkeypatch):
  monkeypatch.setitem(sys.modules, "scipy", None)
  with pytest.raises(errors.EnvironmentFault, match=r"pip install 'vggtf\[imagenet\]'"):
    read(synthetic_ilsvrc.write_devkit())


def test_wrong_bits_that_crash_the_reader(read):
  """Each of these ended the process with SIGSEGV when it read the file itself."""
  files = synthetic_ilsvrc.write_devkit()
  crashed = 0
  for at, bit in CRASHING:
    meta = bytearray(files[META])
    meta[at] ^= 1 << bit
    try:
      read(files | {META: bytes(meta)})
    except errors.UsageError as error:
      crashed += "exit code -11" in str(error)
  assert crashed
