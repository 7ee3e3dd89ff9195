"""Every format to every other and back, bit for bit."""

import dataclasses
import itertools
import pathlib
import zipfile

import h5py
import numpy as np
import pytest

from tests.weights import nets
from vggtf import errors, weights
from vggtf.weights import checkpoints, safetensors_file, torch_file

PLAIN = (".npz", ".h5", ".weights.h5", ".keras", ".pth", ".pt", ".safetensors", ".caffemodel", "")
NORMED = (".npz", ".pth", ".safetensors", ".caffemodel", "")


def write(path, content: weights.Weights, layout="torchvision"):
  """Writes a file, or a run's folder where the suffix is empty, and returns its path."""
  if path.suffix:
    weights.write(path, content, layout)
  else:
    checkpoints.write_run(path, content, "")
  return path


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(PLAIN, 2)))
def test_any_pair_of_formats_there_and_back(tmp_path, first, second):  # S8
  content = nets.small("D", pool_rounding="ceil")
  once = weights.read(write(tmp_path / f"one{first}", content))
  nets.assert_equal(once, content)
  twice = weights.read(write(tmp_path / f"two{second}", once))
  nets.assert_equal(weights.read(write(tmp_path / f"three{first}", twice)), content)


@pytest.mark.parametrize("suffix", NORMED)
@pytest.mark.parametrize(
  ("config", "norm"), [("C", "batch"), ("B-shallow", "batch"), ("A", "group"), ("A-LRN", None)]
)
def test_norms_and_lrn_there_and_back(tmp_path, config, norm, suffix):
  content = nets.small(config, norm)
  if suffix == ".caffemodel" and norm == "group":
    with pytest.raises(errors.UsageError, match="no group norm"):
      write(tmp_path / f"one{suffix}", content)
  else:
    nets.assert_equal(weights.read(write(tmp_path / f"one{suffix}", content)), content)


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".weights.h5", ".keras", ".caffemodel", ".pth"])
def test_without_fully_connected_layers(tmp_path, suffix):
  whole = nets.small("D")
  tensors = {name: one for name, one in whole.tensors.items() if name.startswith("conv")}
  content = weights.Weights(tensors, whole.facts)
  path = write(tmp_path / f"one{suffix}", content, "timm")
  nets.assert_equal(weights.read(path), content)


@pytest.mark.parametrize("config", ["A", "A-LRN", "B", "B-shallow", "C", "D", "E"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_timm_names_there_and_back(tmp_path, config, suffix):
  content = nets.small(config)
  path = write(tmp_path / f"one{suffix}", content, "timm")
  nets.assert_equal(weights.read(path), content)


@pytest.mark.parametrize("suffix", PLAIN[:-1])
def test_content_says_the_format(tmp_path, suffix):
  path = write(tmp_path / f"one{suffix}", nets.small("D"))
  path.with_name(f"{path.name}.json").rename(tmp_path / "other.bin.json")
  nets.assert_equal(weights.read(path.rename(tmp_path / "other.bin")), nets.small("D"))


def test_a_note_of_other_weights_is_refused(tmp_path):
  one, two = (write(tmp_path / name, nets.small("D")) for name in ("one.npz", "two.npz"))
  note = two.with_name("two.npz.json")
  note.write_text(note.read_text().replace("123.68", "23.68"))
  assert weights.read(two).facts.mean_rgb[0] == 23.68  # it is read
  weights.write(tmp_path / "a.npz", nets.small("A"))
  (tmp_path / "a.npz").replace(one)
  with pytest.raises(errors.IntegrityError, match="is of other weights"):
    weights.read(one)
  note.write_text("{")
  with pytest.raises(errors.IntegrityError, match="damaged"):
    weights.read(two)


@pytest.mark.parametrize(
  ("suffix", "config", "norm", "told"),
  [
    (".h5", "D", "batch", "no batch norm"),
    (".keras", "D", "group", "no group norm"),
    (".weights.h5", "A-LRN", None, "no LRN"),
  ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, suffix, config, norm, told):
  with pytest.raises(errors.UsageError, match=told):
    weights.write(tmp_path / f"one{suffix}", nets.small(config, norm))
  assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_written_over(tmp_path):
  path = write(tmp_path / "one.npz", nets.small("A"))
  before = path.read_bytes()
  with pytest.raises(errors.UsageError, match="exists"):
    weights.write(path, nets.small("D"))
  assert path.read_bytes() == before


@pytest.mark.parametrize(
  ("name", "there"),
  [
    ("one.caffemodel", "one.prototxt"),
    ("one.caffemodel", "one.caffemodel.json"),
    ("one.npz", "one.npz.json"),
    ("one.npz", "one.npz.labels.txt"),
  ],
)
def test_what_is_beside_is_not_written_over(tmp_path, monkeypatch, name, there):
  monkeypatch.setattr("vggtf.weights.caffe_file.write", None)  # it is told before the work begins
  monkeypatch.setattr("vggtf.weights.npz.write", None)
  (tmp_path / there).write_text("mine")
  with pytest.raises(errors.UsageError, match=f"{there} exists"):
    weights.write(tmp_path / name, nets.small("A"))
  assert [one.name for one in tmp_path.iterdir()] == [there]
  assert (tmp_path / there).read_text() == "mine"


def test_nothing_is_left_of_a_write_that_fails(tmp_path, monkeypatch):
  def fail(*args):
    raise OSError("No space left on device")

  monkeypatch.setattr("vggtf.weights.npz.write", fail)
  with pytest.raises(OSError, match="No space"):
    weights.write(tmp_path / "one.npz", nets.small("A"))
  assert not list(tmp_path.iterdir())


def spoil(tensors: dict, last: str, bias: str) -> dict:
  """Returns tensors of which one is missing, one strange and one too short."""
  kept = {name: tensor for name, tensor in tensors.items() if name != last}
  return {**kept, "stranger": tensors[bias], bias: tensors[bias][:-1]}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_every_fault_of_a_state_dict_is_listed(tmp_path, suffix):
  module = {".pth": torch_file, ".safetensors": safetensors_file}[suffix]
  path = write(tmp_path / f"good{suffix}", nets.small("D"))
  spoilt = tmp_path / f"bad{suffix}"
  module.write(spoilt, spoil(module.read(path), "classifier.6.weight", "features.2.bias"))
  with pytest.raises(errors.IntegrityError) as caught:
    weights.read(spoilt)
  assert "classifier.6.weight (fc8/weights) is missing" in str(caught.value)
  assert "stranger is none of its tensors" in str(caught.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".caffemodel", ".h5", ".onnx", ""])
def test_every_fault_of_canonical_tensors_is_listed(tmp_path, suffix):
  good = nets.small("D")
  tensors = spoil(good.tensors, "conv3_3/weights", "conv4_2/biases")
  with pytest.raises(errors.IntegrityError) as caught:
    write(tmp_path / f"x{suffix}", dataclasses.replace(good, tensors=tensors))
  for told in (
    "conv3_3/weights is missing",
    "stranger is none of its tensors",
    "conv4_2/biases has the shape (31,) where (32) is expected",
  ):
    assert told in str(caught.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("layer", ["conv1_2", "conv5_3", "fc7"])
@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_a_layer_that_keras_lacks_is_named(tmp_path, layer, suffix):
  path = write(tmp_path / f"good{suffix}", nets.small("D"))
  inner = path
  if suffix == ".keras":
    with zipfile.ZipFile(path) as archive:
      inner = pathlib.Path(archive.extract("model.weights.h5", tmp_path))
  key = {"conv1_2": "conv2d_1", "conv5_3": "conv2d_12", "fc7": "dense_1"}[layer]
  name = {"conv1_2": "block1_conv2", "conv5_3": "block5_conv3", "fc7": "fc2"}[layer]
  with h5py.File(inner, "a") as file:
    if suffix == ".h5":
      file.attrs["layer_names"] = [one.encode() for one in file if one != name]
    else:
      del file[f"layers/{key}"]
  inner.rename(tmp_path / "bad.h5")
  with pytest.raises(errors.IntegrityError, match=f"({layer}/weights|{name}/kernel).* is missing"):
    weights.read(tmp_path / "bad.h5")


def test_unknown_files_are_told_apart(tmp_path):
  (tmp_path / "page.pth").write_text("<!DOCTYPE html><html>")
  (tmp_path / "empty.npz").write_bytes(b"")
  for name in ("page.pth", "empty.npz"):
    with pytest.raises(errors.UsageError, match="no format"):
      weights.read(tmp_path / name)
  with pytest.raises(errors.UsageError, match="no weights at"):
    weights.read(tmp_path / "nowhere.h5")


def test_an_archive_that_is_cut_short_is_damaged(tmp_path):
  path = tmp_path / "cut.npz"
  np.savez(path, weights=np.zeros(1000))
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(errors.IntegrityError, match="is damaged or cut short: it begins as a zip"):
    weights.read(path)
