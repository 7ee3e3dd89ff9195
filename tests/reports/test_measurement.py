"""What lines of results tell of how nets look at pictures."""

import types

import pytest

from vggtf.predictors import dense, mean, multi_crop, multi_scale
from vggtf.reports import measurement, paper


@pytest.fixture
def model():
  """Returns what a description needs of a net that was trained at S ~ U[256, 512]."""
  source = types.SimpleNamespace(
    run="d", step=10, sha256="d", averaged=False, trained_at=(256, 512)
  )
  return types.SimpleNamespace(input_size=224, source=source)


def several(predictor):
  return lambda model: multi_scale.MultiScale(model, predictor)


def at_384(**options):
  return lambda model: dense.Dense(model, 384, **options)


def look(predictor, model):
  (net,) = measurement.nets(predictor, model)
  return net["views"]


def test_a_view_has_its_share_of_the_mean(model):
  assert look(mean.Mean(model, [at_384(), several(dense.Dense)]), model) == [
    ["dense", 256, "dense Q=256, mean of scores, flip", "1/6"],
    ["dense", 384, "dense Q=384, mean of scores, flip", "2/3"],
    ["dense", 512, "dense Q=512, mean of scores, flip", "1/6"],
  ]
  combined = mean.Mean(model, [several(dense.Dense), several(multi_crop.MultiCrop)])
  assert [view[3] for view in look(combined, model)] == ["1/6"] * 6


def test_a_view_has_its_options(model):
  parts = [at_384(), at_384(flip=False), at_384(average="posteriors")]
  assert look(mean.Mean(model, parts), model) == [
    ["dense", 384, "dense Q=384, mean of posteriors, flip", "1/3"],
    ["dense", 384, "dense Q=384, mean of scores", "1/3"],
    ["dense", 384, "dense Q=384, mean of scores, flip", "1/3"],
  ]


@pytest.mark.parametrize("predictor", [dense.Dense, multi_crop.MultiCrop])
def test_the_papers_options_are_the_predictors_own(model, predictor):
  (net,) = measurement.nets(predictor(model), model)
  (view,) = measurement.views(net)
  assert view.options == paper.OPTIONS[view.technique]


def test_shares_of_a_mean_that_does_not_tell_its_parts_are_unknown(model):
  parts = [dense.Dense(model, scale) for scale in (256, 384)]
  plugin = types.SimpleNamespace(members=(*parts, mean.Mean(model, [at_384()])))
  assert [view[3] for view in look(plugin, model)] == ["", ""]


def test_the_last_of_equal_measurements_stands_last():
  def line(details, value):
    return {"job": "evaluate", "remark": "", "details": details, "metric": "m", "value": value}

  a, b, again = line("a", 1), line("b", 2), line("a", 3)
  assert measurement.newest(iter([a, b, again])) == [b, again]
