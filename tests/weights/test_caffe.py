"""Caffe's files against OpenCV's reader, and layers of version 1, as the authors released them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.weights import nets
from tests.weights.caffe_nets import released
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
