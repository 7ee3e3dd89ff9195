"""Caffe's nets that do one thing else than a VGG: none is taken for one."""

import functools

import numpy as np
import pytest

from tests.weights import nets
from tests.weights.caffe_nets import (
  CONVOLUTION,
  INNER_PRODUCT,
  LRN,
  POOLING,
  RELU,
  SOFTMAX,
  layer,
  parameter,
  released,
)
from vggtf import errors, weights

BLOBS = [np.ones((4, 3, 3, 3)), np.ones((1, 1, 1, 4))]  # of conv1_1
ALEXNET = {"local_size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}


@functools.cache
def model():
  return nets.build(config="A")


def read(folder, changes):
  (folder / "net.caffemodel").write_bytes(released(model(), changes))
  return weights.read(folder / "net.caffemodel")


def expected(**facts):
  return nets.weights_of(model(), labels=None, **facts)


def first(more=b"", **options):
  """Returns the change to conv1_1; more: options of other kinds."""
  options = {"pad": 1, "kernel_size": 3} | options
  return {"conv1_1": [layer("conv1_1", CONVOLUTION, BLOBS, **options) + more]}


def pools(*numbers, **options):
  """Returns the changes to the poolings of these numbers."""
  options = {"kernel_size": 2, "stride": 2} | options
  return {f"pool{one}": [layer(f"pool{one}", POOLING, **options)] for one in numbers}


def lrn(**options):
  """Returns the change that puts an LRN where net A-LRN has it."""
  return {"relu1_1": [layer("relu1_1", RELU), layer("norm1", LRN, **{**ALEXNET, **options})]}


def test_both_sides_may_be_given(tmp_path):
  of_first = {"kernel_h": 3, "kernel_w": 3, "pad_h": 1, "pad_w": 1, "stride_h": 1, "stride_w": 1}
  of_pool = {"kernel_h": 2, "kernel_w": 2, "pad_h": 0, "pad_w": 0, "stride_h": 2, "stride_w": 2}
  changes = {
    "conv1_1": [layer("conv1_1", CONVOLUTION, BLOBS, **of_first)],
    "pool2": [layer("pool2", POOLING, **of_pool)],
  }
  content = expected(pool_rounding="ceil")
  for name in ("conv1_1/weights", "conv1_1/biases"):
    content.tensors[name] = np.ones_like(content.tensors[name])
  nets.assert_equal(read(tmp_path, changes), content)


@pytest.mark.parametrize(("mode", "rounding"), [(0, "ceil"), (1, "floor")])
def test_the_rounding_of_poolings_is_taken(tmp_path, mode, rounding):
  found = read(tmp_path, pools(1, 2, 3, 4, 5, round_mode=mode))
  nets.assert_equal(found, expected(pool_rounding=rounding))


@pytest.mark.parametrize(
  ("options", "form"), [({}, "alexnet"), ({"alpha": 1e-4, "k": 1.0}, "caffe")]
)
def test_the_form_of_an_lrn_is_taken(tmp_path, options, form):
  found = read(tmp_path, lrn(**options))
  nets.assert_equal(found, expected(pool_rounding="ceil", lrn_form=form))


def test_a_net_may_end_before_its_top_or_its_softmax(tmp_path):
  nets.assert_equal(read(tmp_path, {"prob": []}), expected(pool_rounding="ceil"))
  top = [f"{kind}{number}" for number in (6, 7, 8) for kind in ("fc", "relu", "drop")]
  found = read(tmp_path, {name: [] for name in [*top, "prob", "pool5"]})
  assert len(found.tensors) == 2 * 8


@pytest.mark.parametrize(
  ("changes", "told"),
  [
    ({"up": [layer("up", 39)]}, "'up' is of the unknown type V1 type 39"),
    ({"odd": [layer("odd", RELU, BLOBS)]}, "'odd' of type ReLU has weights"),
    ({"conv9": [layer("conv9", CONVOLUTION, BLOBS, kernel_size=3)]}, "'conv9' has pad 0, not 1"),
    ({"fc9": [layer("fc9", INNER_PRODUCT, BLOBS)]}, "fc9/weights is none of"),
    ({"fc9": [layer("fc9", INNER_PRODUCT, BLOBS, transpose=1)]}, "'fc9' has transpose 1, not 0"),
    ({"fc9": [layer("fc9", INNER_PRODUCT, BLOBS, axis=2)]}, "'fc9' has axis 2, not 1"),
    (pools(2, kernel_size=3), "'pool2' has kernel_size 3, not 2"),
    (pools(2, pool=1), "'pool2' has pool 1, not 0"),
    (pools(2, kernel_h=2, kernel_w=3), "'pool2' has kernel_size 2 by 3, not 2"),
    (pools(2, stride_h=2, stride_w=1), "'pool2' has stride 2 by 1, not 2"),
    (pools(2, pad_h=1, pad_w=0), "'pool2' has pad 1 by 0, not 0"),
    (pools(2, global_pooling=1), "'pool2' has global_pooling 1, not 0"),
    (pools(2, round_mode=1), "'pool1' has round_mode 0, not 1"),
    (pools(2, round_mode=2), "'pool2' has round_mode 2, not 0"),
    (first(stride_h=2, stride_w=1), "'conv1_1' has stride 2 by 1, not 1"),
    (first(stride_h=2), "'conv1_1' has stride 2 by None, not 1"),
    (first(pad_h=1, pad_w=0), "'conv1_1' has pad 1 by 0, not 1"),
    (first(kernel_h=3, kernel_w=1), "'conv1_1' has kernel_size 3 by 1, not 3"),
    (first(stride=(1, 2)), "convolution_param has stride 1 and 2"),
    (first(group=3), "'conv1_1' has group 3, not 1"),
    (first(parameter(POOLING, pad=1), pad=0), "'conv1_1' has pad 0, not 1"),
    ({"relu1_1": [layer("relu1_1", RELU, negative_slope=0.5)]}, "has negative_slope 0.5, not 0"),
    (lrn(beta=0.5), "'norm1' has another form"),
    (lrn(k=1.0), "'norm1' has another form"),
    (lrn(alpha=1e-4), "'norm1' has another form"),
    (lrn(local_size=9), "'norm1' has local_size 9, not 5"),
    (lrn(norm_region=1), "'norm1' has norm_region 1, not 0"),
  ],
)
def test_what_no_vgg_does_is_listed(tmp_path, changes, told):  # S7
  with pytest.raises(errors.IntegrityError, match=told):
    read(tmp_path, changes)


@pytest.mark.parametrize(
  ("changes", "told"),
  [
    ({"relu1_1": []}, "'conv1_1' is followed by Pooling, not by ReLU, Pooling"),
    ({"relu3_1": []}, "'conv3_1' is followed by nothing, not by ReLU"),
    ({"relu6": []}, "'fc6' is followed by nothing, not by ReLU"),
    ({"relu7": []}, "'fc7' is followed by nothing, not by ReLU"),
    ({"relu6": [layer("prob6", SOFTMAX)]}, "'fc6' is followed by Softmax, not by ReLU"),
    ({"relu6": 2 * [layer("relu6", RELU)]}, "'fc6' is followed by ReLU, ReLU, not by ReLU"),
    ({"prob": [layer("relu8", RELU)]}, "'fc8' is followed by ReLU, not by Softmax"),
    ({"pool3": []}, "'conv3_2' is followed by ReLU, not by ReLU, Pooling"),
    ({"pool1": [*pools(1)["pool1"], *lrn()["relu1_1"][1:]]}, "by ReLU, Pooling, LRN, not by ReLU"),
    ({"conv9": [layer("conv9", CONVOLUTION)]}, "its layers come as data, .*, fc8, conv9, not"),
  ],
)
def test_another_order_is_listed(tmp_path, changes, told):
  with pytest.raises(errors.IntegrityError, match=told):
    read(tmp_path, changes)


def test_a_net_without_any_relu_has_them_all_listed(tmp_path):
  names = [name for name in model().layers if name != "fc8"]
  with pytest.raises(errors.IntegrityError) as caught:
    read(tmp_path, {name.replace("conv", "relu").replace("fc", "relu"): [] for name in names})
  assert all(f"layer {name!r} is followed by" in str(caught.value) for name in names)


def test_an_lrn_in_another_net_than_a_is_refused(tmp_path):
  (tmp_path / "net.caffemodel").write_bytes(released(nets.build(config="D"), lrn()))
  with pytest.raises(errors.IntegrityError, match="followed by ReLU, LRN, not by ReLU"):
    weights.read(tmp_path / "net.caffemodel")
