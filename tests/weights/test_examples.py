"""The examples of docs/weights.md, as they stand there, on a small net's files."""

import pathlib
import re
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tests.peers import torch
from tests.weights import nets
from tests.weights.torch_nets import torchvision_like
from vggtf import weights

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "weights.md"
EXAMPLES = re.findall(r"^```python\n(.+?)^```", DOCS.read_text(encoding="utf-8"), re.M | re.S)
TARGETS = (".onnx", ".keras", ".safetensors", ".caffemodel", ".npz")
NEEDS = {".onnx": "onnxruntime", ".caffemodel": "cv2", ".safetensors": "torch"}


@pytest.fixture
def model(tmp_path, monkeypatch):
  """Returns a net whose files, and a photograph, are in the current folder."""
  monkeypatch.chdir(tmp_path)
  net = nets.build(input_size=224, mean_rgb=(120.0, 110.0, 100.0))
  content = nets.weights_of(net, input_size=224, mean_rgb=(120.0, 110.0, 100.0))
  for suffix in TARGETS:
    weights.write(f"vgg16{suffix}", content)
  pixels = np.asarray(nets.images(1, 9, 12)[0])
  Image.fromarray(pixels).resize((320, 224), Image.Resampling.BICUBIC).save("photo.jpg", quality=95)
  return net


@pytest.mark.parametrize(
  ("example", "suffix"), list(zip(EXAMPLES, TARGETS, strict=True)), ids=TARGETS
)
def test_example_says_what_the_net_says(example, suffix, model, capsys, monkeypatch):
  pytest.importorskip(NEEDS.get(suffix, "numpy"))
  assert len(example.strip().splitlines()) <= 12
  assert f"vgg16{suffix}" in example
  if torch:  # torchvision's wheel wants a torch with CUDA
    models = types.SimpleNamespace(
      vgg16=lambda num_classes: torchvision_like("D", num_classes, width=1 / 16)
    )
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(models=models))
  names: dict = {}
  exec(compile(example.replace("1000", "7"), "docs/weights.md", "exec"), names)
  printed = capsys.readouterr().out.strip()
  if suffix == ".npz":
    assert printed == "(3, 3, 3, 4) [120.0, 110.0, 100.0] 7 classes"
    return
  photo = np.asarray(ImageOps.fit(Image.open("photo.jpg").convert("RGB"), (224, 224)))
  logits = model(tf.constant(photo[np.newaxis])).logits
  posteriors = suffix in (".keras", ".caffemodel")
  expected = tf.nn.softmax(logits) if posteriors else logits
  nets.assert_near(np.reshape(names["scores"], (1, -1)), expected, 1e-3)
  assert printed == nets.LABELS[int(tf.argmax(expected[0]))]
