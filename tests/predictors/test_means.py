"""Means over techniques, scales and nets against numpy's."""

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import samples
from tests.predictors import nets
from vggtf import errors, images
from vggtf.predictors import centre, dense, fusion, mean, multi_crop, multi_scale
from vggtf.predictors.ten_crop import TenCrop

SCALES = (36, 40, 48)


@pytest.fixture(scope="module")
def net():
  return nets.build()


@pytest.fixture(scope="module")
def pictures():
  return [tf.constant(samples.paint(seed, 50, 60)) for seed in range(3)]


def answer(predictor, pictures) -> np.ndarray:
  """Returns what the predictor says of each picture alone."""
  views = [
    tf.nest.map_structure(lambda view: view[tf.newaxis], predictor.prepare(one)) for one in pictures
  ]
  return np.concatenate([predictor(view) for view in views])


def multi(net, predictor, scales=SCALES):
  return multi_scale.MultiScale(net, predictor, scales)


def combined(net):
  return mean.Mean(
    net, (lambda n: multi(n, dense.Dense), lambda n: multi(n, multi_crop.MultiCrop)), "combined"
  )


@pytest.mark.parametrize("predictor", [centre.Centre, dense.Dense, multi_crop.MultiCrop])
def test_multi_scale_is_the_mean_over_scales(net, pictures, predictor):
  expected = np.mean([answer(predictor(net, scale), pictures) for scale in SCALES], axis=0)
  np.testing.assert_allclose(answer(multi(net, predictor), pictures), expected, rtol=0, atol=1e-6)


def test_dense_and_multi_crop_combined_are_their_mean(net, pictures):
  parts = [multi(net, predictor) for predictor in (dense.Dense, multi_crop.MultiCrop)]
  expected = np.mean([answer(part, pictures) for part in parts], axis=0)
  np.testing.assert_allclose(answer(combined(net), pictures), expected, rtol=0, atol=1e-6)


def test_equal_views_are_prepared_once(net, pictures):
  views = combined(net).prepare(pictures[0])
  assert sorted(views) == ["whole_36", "whole_40", "whole_48"]
  for scale in SCALES:
    np.testing.assert_array_equal(views[f"whole_{scale}"], images.rescale(pictures[0], scale))


def test_each_tells_what_all_parts_say(net, pictures):
  predictor = combined(net)
  views = tf.nest.map_structure(lambda view: view[tf.newaxis], predictor.prepare(pictures[0]))
  spec = tf.nest.map_structure(lambda _: tf.TensorSpec([None, None, None, 3], tf.uint8), views)
  said = tf.function(predictor.each, input_signature=[spec])(views)
  assert [one.describe() for one in predictor.members] == [
    *(f"dense Q={scale}, mean of scores, flip" for scale in SCALES),
    "dense Q=36,40,48, mean of scores, flip",
    *(f"multi-crop Q={scale}, 5x5, flip" for scale in SCALES),
    "multi-crop Q=36,40,48, 5x5, flip",
    "dense Q=36,40,48, mean of scores, flip and multi-crop Q=36,40,48, 5x5, flip",
  ]
  for member, found in zip(predictor.members, said, strict=True):
    np.testing.assert_allclose(found, answer(member, pictures[:1]), rtol=0, atol=1e-6)


@dataclasses.dataclass
class Source:
  trained_at: tuple[int, int] | None = None
  labels: tuple[str, ...] = ("a", "b")
  sha256: str = ""
  averaged: bool = False


@pytest.mark.parametrize(
  ("trained_at", "expected"),
  [((256, 256), (224, 256, 288)), ((384, 384), (352, 384, 416)), ((256, 512), (256, 384, 512))],
)
def test_the_papers_scales_follow_from_the_nets_own(trained_at, expected):
  net = nets.build()
  net.source = Source(trained_at)
  assert multi_scale.MultiScale(net, dense.Dense).scales == expected


def test_unknown_training_scale_asks_for_scales(net):
  with pytest.raises(errors.UsageError, match=r"MultiScale\.scales is not bound"):
    multi_scale.MultiScale(net, dense.Dense)


@pytest.mark.parametrize("predictor", [centre.Centre, dense.Dense, multi_crop.MultiCrop, TenCrop])
def test_one_scale_is_the_papers_too(predictor):
  """Section 4.1: Q = S, or 0.5 (S_min + S_max)."""
  net = nets.build()
  assert predictor(net).scale == 256
  for trained_at, scale in {None: 256, (384, 384): 384, (256, 512): 384}.items():
    net.source = Source(trained_at)
    assert predictor(net).scale == scale
    assert predictor(net, 40).scale == 40


@pytest.mark.parametrize(("trained_at", "scales"), [(32, "0, 32, 64"), (63, "31, 63, 95")])
def test_the_papers_scales_must_fit_the_net(trained_at, scales):  # E6
  net = nets.build()
  net.source = Source((trained_at, trained_at))
  with pytest.raises(errors.UsageError) as caught:
    multi_scale.MultiScale(net, dense.Dense)
  assert str(caught.value) == (
    f"MultiScale.scales is not bound, and the paper's for S = {trained_at}, ({scales}), begin "
    "below the net's input of 32 pixels: bind others, such as "
    "--gin_param='MultiScale.scales = (32, 64, 96)'"
  )
  net.source = Source((64, 64))
  assert multi_scale.MultiScale(net, dense.Dense).scales == (32, 64, 96)


def test_a_scale_below_the_net_is_refused(net):  # E6
  with pytest.raises(errors.UsageError, match=r"Dense\.scale = 24 is smaller"):
    multi(net, dense.Dense, (24, 40))


class Runs:
  """Other runs, and the configuration that is the current one."""

  def __init__(self, nets):
    self.nets, self.current = nets, []

  @contextlib.contextmanager
  def within(self, run):
    self.current.append(run)
    yield
    self.current.pop()

  def load(self, run):
    assert self.current == [run]
    return self.nets[run]


def test_fusion_is_the_mean_over_nets(net, pictures):
  runs = Runs({"b": nets.build("B", seed=1), "d": nets.build("D", seed=2)})
  built = []

  def predictor(model):  # as a run's own configuration would bind it
    built.append(list(runs.current))
    return dense.Dense(model, 40 if runs.current else 48)

  fused = fusion.Fusion(net, predictor, ("b", "d"), runs.within, runs.load)
  assert built == [[], ["b"], ["d"]]
  assert fused.scales == (40, 48)
  alone = [answer(dense.Dense(net, 48), pictures)]
  alone += [answer(dense.Dense(other, 40), pictures) for other in runs.nets.values()]
  assert np.abs(alone[0] - alone[1]).max() > 1e-3
  np.testing.assert_allclose(answer(fused, pictures), np.mean(alone, axis=0), rtol=0, atol=1e-6)
  assert fused.describe() == (
    "3 nets: dense Q=48, mean of scores, flip and dense Q=40, mean of scores, flip"
  )
  # All variables are found, so that an export of the mean has every net's.
  count = sum(len(each.variables) for each in (net, *runs.nets.values()))
  assert len(fused.variables) == count


def test_nets_of_other_classes_are_not_fused(net):  # E5
  other = nets.build("B")
  net_of = {"b": other}
  runs = Runs(net_of)
  net.source, other.source = Source(), Source(labels=("b", "a"), sha256="b")
  try:
    with pytest.raises(errors.IntegrityError, match="the net of b was trained on other classes"):
      fusion.Fusion(net, dense.Dense, ("b",), runs.within, runs.load)
  finally:
    del net.source


@pytest.mark.parametrize("runs", [("own",), ("b", "own"), ("b", "b")])
def test_a_net_that_would_count_twice_is_not_fused(runs):
  own, same, other = (nets.build(seed=seed) for seed in (0, 0, 1))
  own.source, same.source, other.source = (Source(sha256=digest) for digest in "aab")
  known = Runs({"own": same, "b": other})
  with pytest.raises(errors.UsageError, match=rf"the net of {runs[-1]} would count twice"):
    fusion.Fusion(own, dense.Dense, runs, known.within, known.load)
  other.source, known = Source(sha256="a", averaged=True), Runs(known.nets)
  assert len(fusion.Fusion(own, dense.Dense, ("b",), known.within, known.load).parts) == 2


def test_a_mean_needs_parts_and_a_name(net):
  with pytest.raises(errors.UsageError, match="a mean of no predictors"):
    mean.Mean(net, ())
  with pytest.raises(errors.UsageError, match="the name of a predictor is 'a b'"):
    mean.Mean(net, (centre.Centre,), "a b")


def test_a_mean_of_crops_shares_any_batch(net):
  crops = mean.Mean(net, (lambda n: centre.Centre(n, 36), lambda n: centre.Centre(n, 40)))
  assert crops.fixed_size
  assert not mean.Mean(net, (centre.Centre, dense.Dense)).fixed_size
