"""State dicts against PyTorch itself: modules built here as torchvision and timm build theirs."""

import functools
import pickle
import struct
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tests.peers import needs_torch, torch
from tests.weights import nets
from tests.weights.torch_nets import torchvision_like
from vggtf import errors, weights
from vggtf.weights import torch_file

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # torchvision's


def answer(module, batch, mean, std):
  pixels = (batch.numpy() / 255 - mean) / std
  return module(torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32)).detach().numpy()


def net_of(found: weights.Weights, **options):
  model = nets.build(mean_rgb=found.facts.mean_rgb, **options)
  for variable in model.variables:
    if "/" in variable.name:
      variable.assign(found.tensors[variable.name.split(":")[0]])
  return model


@needs_torch
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("config", ["A", "B", "C", "D", "E"])
def test_small_nets_answer_as_in_torch(tmp_path, config, norm, legacy):
  module = torchvision_like(config, 7, norm is not None, width=1 / 16, side=2)
  path = tmp_path / "net.pth"
  torch.save(module.state_dict(), path, _use_new_zipfile_serialization=not legacy)
  found = weights.read(path)
  np.testing.assert_allclose(found.facts.mean_rgb, 255 * MEAN)
  batch = nets.images(2, 64)
  model = net_of(found, config=config, norm=norm)
  nets.assert_near(model(batch).logits, answer(module, batch, MEAN, STD))

  again = torchvision_like(config, 7, norm is not None, width=1 / 16, side=2)
  weights.write(tmp_path / "back.pth", found)
  again.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True), strict=True)
  expected = answer(again, batch, np.array(found.facts.mean_rgb) / 255, 1 / 255)
  nets.assert_near(model(batch).logits, expected)


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("config", ["A", "B", "C", "D", "E"])
def test_whole_nets_answer_as_in_torch(tmp_path, config):
  module = torchvision_like(config, 1000)
  torch.save(module.state_dict(), tmp_path / "net.pth")
  found = weights.read(tmp_path / "net.pth")
  batch = nets.images(1, 224)
  model = net_of(found, config=config, classes=1000, input_size=224, width=1.0)
  nets.assert_near(model(batch).logits, answer(module, batch, MEAN, STD))


@needs_torch
def test_timm_layout_is_a_convolutional_head(tmp_path):
  content = nets.small("A")
  weights.write(tmp_path / "net.safetensors", content, "timm")
  import safetensors.torch

  state = safetensors.torch.load_file(tmp_path / "net.safetensors")
  assert state["pre_logits.fc1.weight"].shape == (256, 32, 2, 2)
  assert state["head.fc.weight"].shape == (7, 256)
  batch = nets.images(2, 64)
  maps = torch.tensor((batch.numpy() - nets.MEAN).transpose(0, 3, 1, 2), dtype=torch.float32)
  for number, word in zip(
    (0, 0, 3, 3, 6, 8, 8, 11, 13, 13, 16, 18, 18), "cpcpccpccpccp", strict=True
  ):
    if word == "p":
      maps = torch.nn.functional.max_pool2d(maps, 2)
    else:
      kernel, bias = (state[f"features.{number}.{part}"] for part in ("weight", "bias"))
      maps = torch.relu(torch.nn.functional.conv2d(maps, kernel, bias, padding=1))
  for name in ("pre_logits.fc1", "pre_logits.fc2"):
    kernel, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    maps = torch.relu(torch.nn.functional.conv2d(maps, kernel, bias))
  logits = maps[:, :, 0, 0] @ state["head.fc.weight"].T + state["head.fc.bias"]
  nets.assert_near(nets.build(config="A")(batch).logits, logits)


@needs_torch
def test_views_wrappers_and_halves_are_read(tmp_path):
  whole = torch.arange(24, dtype=torch.float32)
  state = {
    "turned": whole.reshape(4, 6).T,
    "part": whole[3:9].reshape(2, 3),
    "half": whole.half(),
    "parameter": torch.nn.Parameter(whole[:2]),
    "count": torch.tensor(5),
  }
  for number, legacy in enumerate((False, True)):
    path = tmp_path / f"{number}.pth"
    torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=not legacy)
    found = torch_file.read(path)
    for name, tensor in state.items():
      np.testing.assert_array_equal(found[name], tensor.detach().numpy())


class Trap:
  """What a pickle of it does when it is run."""

  def __init__(self, path):
    self._path = path

  def __reduce__(self):
    return (open, (str(self._path), "w"))


def archive(path, program: bytes):
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("a/data.pkl", program)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_pickle_is_run(tmp_path, protocol):  # S8
  trap = tmp_path / "sprung"
  program = pickle.dumps({"features.0.weight": Trap(trap)}, protocol)
  pickle.loads(program).popitem()[1].close()
  assert trap.exists()  # that is what running it does
  trap.unlink()
  archive(tmp_path / "bad.pth", program)
  (tmp_path / "old.pth").write_bytes(
    torch_file.LEGACY + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + program
  )
  for name in ("bad.pth", "old.pth"):
    with pytest.raises(errors.IntegrityError, match=r"io\.open"):
      weights.read(tmp_path / name)
  np.save(tmp_path / "plain.npy", np.array([Trap(trap)], object), allow_pickle=True)
  with zipfile.ZipFile(tmp_path / "bad.npz", "w") as file:
    file.write(tmp_path / "plain.npy", "conv1_1/weights.npy")
  with pytest.raises(errors.IntegrityError, match="plain arrays"):
    weights.read(tmp_path / "bad.npz")
  assert not trap.exists()


def described(storage_bytes=8, count=2, shape=(2,), strides=(1,), offset=0, kind="FloatStorage"):
  """Returns the parts of an archive of one tensor that may lie about itself."""
  number = lambda value: b"\x8a\x08" + struct.pack("<q", value)  # noqa: E731
  text = lambda value: b"X" + struct.pack("<I", len(value)) + value.encode()  # noqa: E731
  numbers = lambda values: b"(" + b"".join(map(number, values)) + b"t"  # noqa: E731
  program = b"\x80\x02}" + text("x") + b"ctorch._utils\n_rebuild_tensor_v2\n(("
  program += text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu")
  program += number(count) + b"tQ" + number(offset) + numbers(shape) + numbers(strides)
  return program + b"\x89NtRs.", bytes(storage_bytes)


@pytest.mark.parametrize(
  ("lie", "told"),
  [
    ({}, None),
    ({"shape": (3,)}, "beyond"),
    ({"offset": 1}, "beyond"),
    ({"offset": -1}, "beyond"),
    ({"shape": (2**40,), "strides": (0,)}, "beyond"),
    ({"shape": (-2,)}, "beyond"),
    ({"strides": (-1,)}, "beyond"),
    ({"strides": (1, 1)}, "not described"),
    ({"count": 2**40}, "8 bytes for"),
    ({"count": -2}, "8 bytes for"),
    ({"kind": "QInt8Storage"}, "QInt8Storage"),
  ],
)
def test_lies_of_a_torch_file_are_refused(tmp_path, lie, told):  # S7
  program, data = described(**lie)
  with zipfile.ZipFile(tmp_path / "x.pth", "w") as file:
    file.writestr("a/data.pkl", program)
    file.writestr("a/data/0", data)
  read = functools.partial(torch_file.read, tmp_path / "x.pth")
  if told is None:
    np.testing.assert_array_equal(read()["x"], np.zeros(2, np.float32))
  else:
    with pytest.raises(errors.IntegrityError, match=told):
      read()


@pytest.mark.parametrize(
  "program",
  [
    b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",  # a dict inside of itself
    b"\x80\x02X\x01\x00\x00\x00a)a.",  # appends to a text
    b"\x80\x02]]]s.",  # sets an item of a list
    b"\x80\x02R.",  # calls nothing
    b"\x80\x02.",
    b"\x80\x02h\x07.",  # remembers what was not kept
    b"\x80\x02(XXX",
    b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
    b"ios\nsystem\n(S'id'\no.",
  ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_programs_that_make_no_sense_are_refused(tmp_path, program, legacy):
  path = tmp_path / "x.pth"
  if legacy:
    before = torch_file.LEGACY + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    path.write_bytes(before + program + pickle.dumps([], 2))
  else:
    archive(path, program)
  with pytest.raises(errors.IntegrityError):
    torch_file.read(path)


def test_bombs_are_refused_before_they_unpack(tmp_path):  # S7
  program, _ = described(storage_bytes=0, count=2**28, shape=(2**28,))
  for name, entries in (
    ("x.pth", {"a/data.pkl": program, "a/data/0": bytes(2**22)}),
    ("x.npz", {"conv1_1/weights.npy": bytes(2**22)}),
    ("x.keras", {"model.weights.h5": bytes(2**22)}),
  ):
    with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as file:
      for entry, content in entries.items():
        file.writestr(entry, content)
    with pytest.raises(errors.IntegrityError, match=r"compressed|would unpack"):
      weights.read(tmp_path / name)


@needs_torch
@pytest.mark.parametrize("legacy", [False, True])
def test_damage_is_an_error_and_no_crash(tmp_path, legacy):
  state = {"a": torch.ones(100), "b": torch.zeros(7)}
  torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
  content = (tmp_path / "x.pth").read_bytes()
  for size in range(1, len(content), 37):
    (tmp_path / "cut.pth").write_bytes(content[:size])
    with pytest.raises(errors.IntegrityError):
      torch_file.read(tmp_path / "cut.pth")


@needs_torch
def test_preprocessing_of_the_source_can_be_said(tmp_path):
  module = torchvision_like("A", 7, width=1 / 16, side=2)
  torch.save(module.state_dict(), tmp_path / "net.pth")
  found = weights.read(tmp_path / "net.pth", how="bgr")  # such as Caffe's weights in PyTorch's form
  batch = nets.images(2, 64)
  pixels = tf.reverse(tf.cast(batch, tf.float32) - nets.MEAN, [-1]).numpy().transpose(0, 3, 1, 2)
  expected = module(torch.tensor(pixels)).detach().numpy()
  nets.assert_near(net_of(found, config="A")(batch).logits, expected)
  with pytest.raises(errors.UsageError, match="'torchvision'"):
    weights.read(tmp_path / "net.pth", how="gbr")
