"""The digits come back from their JPEG files exactly as scanned."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from data_tools import digits
from vggtf import errors

load_digits = pytest.importorskip("sklearn.datasets").load_digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  output = tmp_path_factory.mktemp("digits") / "out"
  assert digits.main([f"--output={output}"]) == 0
  return output


def test_every_digit_is_there_and_exact(folder):
  data = load_digits()
  paths = sorted(folder.rglob("*.jpg"), key=lambda path: path.name)
  assert len(paths) == 1797
  for path, image, label in zip(paths, data.images, data.target, strict=True):
    assert path.parent.name == str(label)
    with Image.open(path) as picture:
      assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (64, 64))
      blocks = np.asarray(picture).reshape(8, 8, 8, 8)
    np.testing.assert_array_equal(np.rint(blocks.mean((1, 3)) * 16 / 255), image)
    assert (blocks.min((1, 3)) == blocks.max((1, 3))).all()


def test_a_fifth_of_each_class_is_held_out(folder):
  for label, total in enumerate(np.bincount(load_digits().target)):
    held_out = len(os.listdir(folder / "validation" / str(label)))
    assert held_out == total // 5
    assert len(os.listdir(folder / "train" / str(label))) == total - held_out
  assert "load_digits" in (folder / "README.txt").read_text()


def test_full_folder_is_refused(folder):
  with pytest.raises(errors.UsageError, match="not empty"):
    digits.main([f"--output={folder}"])


def test_bucket_is_refused(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.UsageError, match="expected a local folder"):
    digits.main(["--output=gs://bucket/digits"])
  assert os.listdir(tmp_path) == []


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
  with pytest.raises(errors.EnvironmentFault, match=r"pip install 'vggtf\[demo\]'"):
    digits.main([f"--output={tmp_path / 'out'}"])
  assert os.listdir(tmp_path) == []
