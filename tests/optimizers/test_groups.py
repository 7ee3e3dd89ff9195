"""Rates by name against separate optimizers."""

import functools

import gin
import numpy as np
import pytest
import tensorflow as tf

from tests.conformance import configurations
from tests.optimizers import updates
from tests.training import parts
from vggtf import errors
from vggtf.losses import weight_decay
from vggtf.optimizers import adamw, groups, sgd


def by_name(**multipliers):
  return functools.partial(groups.ByName, sgd.SGD, multipliers)


@pytest.mark.parametrize("form", updates.FORMS)
def test_each_layer_moves_as_alone_at_its_own_rate(form):
  gradients = updates.draw(12)
  found = updates.run(
    by_name(conv1_1=0.0, fc8=10.0), gradients, updates.RATES, weight_decay.L2(0.1), **form
  )
  faster = updates.run(
    sgd.SGD, gradients, [10 * rate for rate in updates.RATES], weight_decay.L2(0.1), **form
  )
  for index, name in enumerate(updates.NAMES):
    if name.startswith("conv1_1"):
      np.testing.assert_array_equal(found[index], updates.draw()[0][index].astype(np.float32))
    else:
      np.testing.assert_allclose(found[index], faster[index], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ("multipliers", "expected"),
  [
    ({}, [1, 1, 1]),
    ({"conv1_*": 0.5}, [0.5, 0.5, 1]),
    ({"*": 0.0, "fc8": 10.0}, [0, 0, 10]),
    ({"fc8": 10.0, "*": 0.0}, [0, 0, 10]),  # gin writes a dictionary's keys in any order
    ({"*/biases": 2.0, "conv1_1": 0.5}, [0.5, 2, 1]),
    ({"conv1_1/biases": 0.0}, [1, 0, 1]),
    ({"fc[78]": 3.0}, [1, 1, 3]),
  ],
)
def test_the_longest_pattern_counts(multipliers, expected):
  zero, one = ([[np.full(shape, value) for shape in updates.SHAPES]] for value in (0.0, 1.0))
  plain = functools.partial(sgd.SGD, momentum=0.0, bias_rate=1.0)
  wrapped = functools.partial(groups.ByName, plain, multipliers)
  at_rest, moved = (updates.run(wrapped, given, [1.0]) for given in (zero, one))
  found = [float(np.mean(a - b)) for a, b in zip(at_rest, moved, strict=True)]
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_frozen_variables_have_no_slots_and_the_rest_is_in_the_checkpoint(tmp_path):
  optimizer = by_name(conv1_1=0.0)()
  optimizer.build(updates.variables())
  path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "state"))
  assert sum(name.startswith("optimizer") for name, _ in tf.train.list_variables(path)) == 1


def test_whether_the_wrapped_decays_is_known():
  for wrapped, decays in ((adamw.AdamW, True), (sgd.SGD, False)):
    optimizer = groups.ByName(wrapped, {"fc8": 10.0})
    optimizer.build(updates.variables())
    assert optimizer.decays_weights is decays


def build(**multipliers):
  by_name(**multipliers)().build(updates.variables())


def test_a_pattern_that_matches_nothing_is_refused_with_close_names():
  with pytest.raises(errors.UsageError, match=r"'fc9' matches no layer.*such as fc8"):
    build(fc9=1.0)
  with pytest.raises(errors.UsageError, match=r"'weights' matches no layer.*such as \S*weights"):
    build(weights=1.0)


def test_patterns_of_a_length_that_disagree_are_refused():
  with pytest.raises(errors.UsageError, match=r"'fc\?' and '\?c8' both name fc8/weights"):
    build(**{"fc?": 1.0, "?c8": 2.0})
  build(**{"fc?": 2.0, "?c8": 2.0})


def test_freezing_everything_is_refused():
  with pytest.raises(errors.UsageError, match="nothing would train"):
    build(**{"*": 0.0})


@pytest.mark.parametrize("multiplier", [-1.0, float("nan")])
def test_impossible_multipliers_are_refused(multiplier):
  with pytest.raises(errors.UsageError, match="'fc8': "):
    build(fc8=multiplier)


def test_another_number_of_gradients_is_an_error():
  optimizer = by_name(fc8=2.0)()
  optimizer.build(updates.variables())
  with pytest.raises(ValueError, match="4 gradients for 3"):
    optimizer.apply([tf.zeros(1)] * 4, tf.constant(0.1))


@pytest.mark.parametrize("norm", [None, "batch"])
def test_the_overlay_trains_fully_connected_layers_alone(norm):
  try:
    configurations.parse("vgg16", "with/fully_connected")
    multipliers = gin.query_parameter("groups.ByName.multipliers")
  finally:
    gin.clear_config()
  net = parts.net(norm=norm)
  optimizer = groups.ByName(sgd.SGD, multipliers)
  optimizer.build(net.trainable_variables)
  moved = [one.name.split("/")[1] for one in optimizer.optimizers[0].velocities]
  assert moved == ["fc6", "fc6", "fc7", "fc7", "fc8", "fc8"]
