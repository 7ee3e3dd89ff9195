"""ONNX against onnxruntime, at the native size and slid over larger images."""

import json

import numpy as np
import pytest

from tests.weights import nets
from vggtf import errors, weights
from vggtf.weights import extras, onnx_file

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize(
  ("config", "norm"),
  [
    ("A", None),
    ("A-LRN", None),
    ("B", "group"),
    ("B-shallow", None),
    ("C", "batch"),
    ("D", None),
    ("E", None),
  ],
)
def test_onnxruntime_answers_alike(tmp_path, config, norm, rounding):  # S8
  options = {"config": config, "norm": norm, "pool_rounding": rounding}
  model = nets.build(**options)
  lrn = {"lrn_form": "alexnet"} if config == "A-LRN" else {}
  content = nets.weights_of(model, pool_rounding=rounding, **lrn)
  weights.write(tmp_path / "net.onnx", content)
  theirs = session(tmp_path / "net.onnx")
  for count in (1, 3):
    batch = nets.images(count, 64)
    (logits,) = theirs.run(["logits"], {"images": np.float32(batch)})
    nets.assert_near(model(batch).logits, logits)
  for height, width in ((64, 101), (107, 90)):
    batch = nets.images(2, height, width)
    logits, scores = theirs.run(["logits", "score_map"], {"images": np.float32(batch)})
    expected = model.score_map(batch)
    assert scores.shape == expected.shape
    nets.assert_near(expected, scores)
    nets.assert_near(np.mean(expected, (1, 2)), logits)


def test_the_graph_is_sound_and_says_how_to_use_it(tmp_path):
  weights.write(tmp_path / "net.onnx", nets.small("D", "batch"))
  model = onnx.load(tmp_path / "net.onnx")
  onnx.checker.check_model(model, full_check=True)
  assert model.opset_import[0].version == onnx_file.OPSET == 17
  properties = {one.key: one.value for one in model.metadata_props}
  assert tuple(json.loads(properties["labels"])) == nets.LABELS
  assert (properties["input"], properties["input_size"]) == ("RGB, 0..255", "64")
  axes = model.graph.input[0].type.tensor_type.shape.dim
  assert [axis.dim_param or axis.dim_value for axis in axes] == ["N", "H", "W", 3]


def test_onnx_is_written_only(tmp_path):
  weights.write(tmp_path / "net.onnx", nets.small("D"))
  with pytest.raises(errors.UsageError, match="no format does that can be read"):
    weights.read(tmp_path / "net.onnx")


def test_a_net_that_does_not_classify_is_refused(tmp_path):
  tensors = {n: t for n, t in nets.small("D").tensors.items() if n.startswith("conv")}
  with pytest.raises(errors.UsageError, match="no fc6"):
    weights.write(tmp_path / "net.onnx", weights.Weights(tensors))


def test_a_missing_package_is_named_with_its_extra():
  with pytest.raises(errors.EnvironmentFault, match=r"pip install 'vggtf\[onnx\]'"):
    extras.load("onnx_that_is_not_there", "onnx")
