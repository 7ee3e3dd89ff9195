"""Caffe's files against OpenCV's reader, and layers of version 1, as the authors released them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.weights import nets
from vggtf import errors, weights
from vggtf.nn import norms as layers
from vggtf.weights import caffe_file, norms, wire

try:
  import cv2
except ImportError:
  cv2 = None

needs_opencv = pytest.mark.skipif(
  cv2 is None or not hasattr(cv2.dnn, "readNetFromCaffe"), reason="compares with OpenCV 4"
)


def bgr(batch, mean_rgb):
  """Returns what the authors' release takes: B, G and R less the mean, [N, 3, H, W]."""
  pixels = tf.reverse(tf.cast(batch, tf.float32) - mean_rgb, [-1])
  return pixels.numpy().transpose(0, 3, 1, 2)


@needs_opencv
@pytest.mark.parametrize(
  ("config", "norm", "lrn_form"),
  [
    ("A", None, None),
    ("A-LRN", None, "caffe"),  # OpenCV takes k of LRN for 1, whatever the file says
    ("B", "batch", None),
    ("B-shallow", None, None),
    ("C", None, None),
    ("D", "batch", None),
    ("E", None, None),
  ],
)
def test_opencv_answers_alike(tmp_path, config, norm, lrn_form):
  options = {"config": config, "norm": norm, "pool_rounding": "ceil", "input_size": 72}
  model = nets.build(**options, **({"lrn_form": lrn_form} if lrn_form else {}))  # 72: 9 rounds up
  content = nets.weights_of(model, pool_rounding="ceil", lrn_form=lrn_form, input_size=72)
  weights.write(tmp_path / "net.caffemodel", content)
  theirs = cv2.dnn.readNetFromCaffe(
    str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")
  )
  batch = nets.images(2, 72)
  theirs.setInput(bgr(batch, nets.MEAN))
  logits, posteriors = theirs.forward(["fc8", "prob"])
  nets.assert_near(model(batch).logits, np.reshape(logits, (2, -1)))
  nets.assert_near(tf.nn.softmax(model(batch).logits), np.reshape(posteriors, (2, -1)))


def released(model) -> bytes:
  """Returns a net as the authors' files have it: version 1, four axes for every blob."""
  kinds = {"conv": 4, "fc": 14}
  layers = [layer(b"relu1_1", 18), layer(b"pool1", 17, options=(19, pooling()))]
  for name, variables in model.layers.items():
    kernel, biases = variables.weights.numpy(), variables.biases.numpy()
    if name == "conv1_1":
      kernel = kernel[:, :, ::-1]
    rows = kernel.transpose(3, 2, 0, 1)
    if name.startswith("fc"):
      rows = rows.reshape(1, 1, len(rows), -1)
    kind = kinds[name.rstrip("_0123456789")]
    pad = wire.number(3, 1) if kind == 4 and len(kernel) == 3 else b""
    layers.append(
      layer(name.encode(), kind, [rows, biases.reshape(1, 1, 1, -1)], (10, pad) if pad else None)
    )
  layers += [layer(b"drop6", 6), layer(b"prob", 20)]
  return wire.block(1, b"VGG_ILSVRC_16_layers") + b"".join(wire.block(2, one) for one in layers)


def layer(name, kind, blobs=(), options=None):
  content = wire.block(4, name) + wire.number(5, kind)
  for blob in blobs:
    sizes = b"".join(wire.number(axis + 1, size) for axis, size in enumerate(blob.shape))
    content += wire.block(6, sizes + wire.block(5, np.float32(blob).tobytes()))
  return content + (wire.block(*options) if options else b"")


def pooling(size=2):
  return wire.number(2, size) + wire.number(3, 2)


@pytest.mark.parametrize("config", ["D", "E"])
def test_version_1_is_read_as_released(tmp_path, config):
  model = nets.build(config=config)
  (tmp_path / "VGG.caffemodel").write_bytes(released(model))
  found = weights.read(tmp_path / "VGG.caffemodel")
  expected = nets.weights_of(model, labels=None, pool_rounding="ceil")
  nets.assert_equal(found, expected)


def test_a_red_picture_is_red_in_both_conventions(tmp_path):
  model = nets.build(config="A")
  (tmp_path / "VGG.caffemodel").write_bytes(released(model))
  first = caffe_file.read(tmp_path / "VGG.caffemodel")[0]["conv1_1/weights"]
  red = np.array([200.0, 0, 0]) - nets.MEAN
  ours = model.layers["conv1_1"].weights.numpy()
  np.testing.assert_allclose(first[1, 1].T @ red[::-1], ours[1, 1].T @ red, rtol=1e-5)


@pytest.mark.parametrize(
  ("extra", "told"),
  [
    (layer(b"up", 39), "'up' is of the unknown type V1 type 39"),
    (layer(b"odd", 17, options=(19, pooling(3))), "'odd' has kernel_size 3, not 2"),
    (layer(b"odd", 17, options=(19, pooling() + wire.number(1, 1))), "has pool 1, not 0"),
    (layer(b"conv9_9", 4, [np.ones((4, 4, 3, 3)), np.ones((1, 1, 1, 4))]), "has pad 0, not 1"),
    (layer(b"fc9", 14, [np.ones((1, 1, 4, 4)), np.ones((1, 1, 1, 4))]), "fc9/weights is none of"),
  ],
)
def test_what_no_vgg_has_is_listed(tmp_path, extra, told):  # S7
  path = tmp_path / "net.caffemodel"
  path.write_bytes(released(nets.build(config="A")) + wire.block(2, extra))
  with pytest.raises(errors.IntegrityError, match=told):
    weights.read(path)


def blob(*parts: bytes) -> bytes:
  content = wire.block(4, b"conv1_1") + wire.number(5, 4) + wire.block(6, b"".join(parts))
  return wire.block(1, b"net") + wire.block(2, content)


@pytest.mark.parametrize(
  ("content", "told"),
  [
    (blob(wire.block(5, bytes(12)), wire.number(1, 2)), "3 numbers, its shape says"),
    (blob(wire.block(5, bytes(12)), *(wire.number(n, 2**31) for n in (1, 2, 3, 4))), "3 numbers"),
    (blob(wire.number(1, 2**62)), "is empty"),
    (wire.block(1, b"n") + wire.block(2, wire.number(4, 2**50)), "a name is the number"),
    (wire.block(1, b"n") + wire.block(2, wire.number(6, 2**50)), "damaged"),
    (blob(wire.block(5, bytes(13))), "multiple of element size"),
    (blob(wire.number(5, 1.0), wire.number(5, 1.0)), "not packed"),
    (blob(wire.block(8, bytes(8))), "float64"),
    (wire.block(1, b"n") + wire.block(2, b"") + wire.header(2, 2**40), "cut short"),
    (wire.block(1, b"n") + wire.block(2, b"") + b"\xff" * 20, "has no end"),
    (wire.block(1, b"n") + 1001 * wire.block(2, b""), "more than 1000 layers"),
    (blob(wire.block(7, wire.block(1, bytes([1] * 9))), wire.block(5, bytes(4))), "its shape"),
  ],
)
def test_lies_of_a_caffemodel_are_refused(tmp_path, content, told):  # S7
  path = tmp_path / "net.caffemodel"
  path.write_bytes(content)
  with pytest.raises(errors.IntegrityError, match=told):
    weights.read(path)


def test_any_cut_is_an_error_and_no_crash(tmp_path):
  weights.write(tmp_path / "net.caffemodel", nets.small("A"))
  content = (tmp_path / "net.caffemodel").read_bytes()
  for size in range(2, len(content), 6007):
    (tmp_path / "cut.caffemodel").write_bytes(content[:size])
    with pytest.raises((errors.IntegrityError, errors.UsageError)):
      weights.read(tmp_path / "cut.caffemodel")


def test_norms_have_the_numbers_of_our_layers():
  for name, form in layers.LOCAL_RESPONSE_FORMS.items():
    assert norms.LRN[name] == norms.Lrn(form.bias, form.alpha, form.beta)
    assert 2 * form.radius + 1 == norms.LRN_SIZE
  assert layers.Batch("norm", 1)._epsilon == layers.Group("norm", 1)._epsilon == norms.EPSILON
  for channels in (1, 31, 48, 64):
    assert layers.Group("norm", channels)._groups == norms.groups(channels)
