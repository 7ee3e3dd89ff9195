"""Error rates on a set whose right answers are known."""

import dataclasses
import functools
import logging
import os
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from data_tools import pixels
from tests import samples
from tests.evaluators.eye import CLASSES, Eye
from tests.predictors import nets
from vggtf import errors, manifest, metrics
from vggtf.data import reader, shards
from vggtf.evaluators import classification
from vggtf.predictors import centre, dense, mean, multi_crop, multi_scale

COUNT = 45  # images of a class differ in shape; 45 is no multiple of most batches


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("painted") / "data"
  return samples.digits_like(folder, scales=(32,), train=7, validation=COUNT, classes=CLASSES)


def evaluator(data_dir, net, batch_size=64, predictor=lambda net: centre.Centre(net, 32)):
  return classification.Classification(net, data_dir, predictor, batch_size=batch_size)


PREDICTORS = {
  "centre": lambda net: centre.Centre(net, 32),
  "dense": lambda net: dense.Dense(net, 32),
}


def scales(net):
  return multi_scale.MultiScale(net, dense.Dense, (32, 40))


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("batch_size", [1, 7, 44, 45, 64])
def test_error_rates_are_exact_for_any_batch(data_dir, batch_size, predictor):
  places = (0, 0, 1, 4, 5, 0, 6)
  measured = evaluator(data_dir, Eye(places), batch_size, PREDICTORS[predictor])()
  labels = [number % CLASSES for number in range(COUNT)]  # 7 or 6 images of a class
  wrong = sum(places[label] >= 1 for label in labels)
  wrong_of_5 = sum(places[label] >= 5 for label in labels)
  assert measured == {"top1_error": (wrong, COUNT), "top5_error": (wrong_of_5, COUNT)}
  assert measured["top1_error"].value == wrong / COUNT
  assert 0 < wrong_of_5 < wrong < COUNT


def test_a_second_measurement_is_the_same(data_dir):
  measure = evaluator(data_dir, Eye((0, 1, 0, 0, 6, 0, 0)), 8)
  assert measure() == measure()


def test_what_was_learnt_since_is_measured(data_dir):
  class Learning(Eye):
    def __init__(self):
      super().__init__()
      self.learnt = tf.Variable(-1.0)

    def _scores(self, images):
      return self.learnt * super()._scores(images)

  net = Learning()
  measure = evaluator(data_dir, net)
  assert measure()["top5_error"].value == 1.0
  net.learnt.assign(1.0)
  assert measure()["top5_error"].value == 0.0


def test_it_says_how_and_on_what(data_dir):
  measure = evaluator(data_dir, Eye())
  assert measure.protocol == "centre 32 of 32"
  assert [text for _, text in measure.labels] == [f"class {label}" for label in range(CLASSES)]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_posteriors_that_are_not_finite_are_no_measurement(data_dir, value):  # E4
  class Broken(Eye):
    def _scores(self, images):
      scores = super()._scores(images)
      sixth = tf.argmax(scores, axis=1) == 6
      return tf.where(sixth[:, tf.newaxis], value, scores)

  with pytest.raises(errors.DivergedError) as caught:
    evaluator(data_dir, Broken(), 32)()
  named = str(caught.value).split(": ")[1].split(", ")
  assert str(caught.value).startswith("posteriors of ")
  assert 1 <= len(named) <= 5
  assert all(int(id_.removeprefix("validation/")) % CLASSES == 6 for id_ in named)


def test_padding_may_be_anything(data_dir):
  class Dark(Eye):
    """Answers black pictures, which only padding is, with NaN."""

    def _scores(self, images):
      black = tf.reduce_all(images == 0, axis=[1, 2, 3])
      return tf.where(black[:, tf.newaxis], np.nan, super()._scores(images))

  measured = evaluator(data_dir, Dark(), 64)()
  assert measured == {"top1_error": (0, COUNT), "top5_error": (0, COUNT)}


def test_a_picture_that_cannot_be_decoded_is_damage(data_dir, monkeypatch):
  stored = reader.stored

  def broken(record):
    encoded, label, id_ = stored(record)
    return (encoded[:-200] if id_ == b"validation/00007" else encoded), label, id_

  monkeypatch.setattr(reader, "stored", broken)
  with pytest.raises(errors.IntegrityError) as caught:
    evaluator(data_dir, Eye(), 8)()
  assert str(caught.value) == (
    "an image cannot be decoded (jpeg::Uncompress failed. Invalid JPEG data or crop window.); "
    "python -m data_tools.verify --decode=all names it"
  )


def test_a_damaged_record_is_named(tmp_path):
  folder = samples.digits_like(
    tmp_path / "data", scales=(32,), train=7, validation=14, classes=CLASSES
  )
  path = max(pathlib.Path(folder).glob("scale_32/validation-*"), key=os.path.getsize)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  measure = evaluator(folder, Eye(), 4)
  path.write_bytes(content)  # the mapped file changes under the evaluator
  with pytest.raises(errors.IntegrityError, match=rf"{path.name} record \d+"):
    measure()


def test_an_unknown_split_is_refused(data_dir):
  with pytest.raises(errors.UsageError, match=r"has no split 'test'; it has: .*Choose one of"):
    classification.Classification(Eye(), data_dir, PREDICTORS["centre"], split="test")


def test_a_split_without_images_is_refused(tmp_path):
  folder = samples.digits_like(tmp_path / "data", (32,), train=7, validation=0, classes=CLASSES)
  with pytest.raises(errors.UsageError, match=r"split 'validation' of .* has no images"):
    evaluator(folder, Eye())


@pytest.mark.parametrize(  # P10, E3
  ("count", "predictor"),
  [(1, scales), (7, PREDICTORS["centre"]), (9, PREDICTORS["centre"]), (50, scales)],
)
def test_each_image_counts_once_whatever_the_tail(tmp_path, count, predictor):
  folder = samples.digits_like(tmp_path, train=7, validation=count, classes=CLASSES)
  places = (0, 0, 1, 4, 5, 0, 6)
  expected = sum(places[number % CLASSES] >= 1 for number in range(count))
  *_, measured = evaluator(folder, Eye(places), 8, predictor).measure()
  assert measured.means["top1_error"] == (expected, count)
  assert measured.answers.id.tolist() == [b"validation/%05d" % at for at in range(count)]
  assert measured.answers.label.tolist() == [number % CLASSES for number in range(count)]


@pytest.mark.parametrize(
  ("workers", "batch_size", "predictor"),
  [(2, 7, "centre"), (3, 15, "dense"), (4, 1, "centre"), (46, 64, "dense")],
)
def test_each_image_counts_once_whoever_looks(data_dir, workers, batch_size, predictor):
  """P10: shares of unequal length, and one without an image."""
  places = (0, 0, 1, 4, 5, 0, 6)
  shared = evaluator(data_dir, Eye(places), batch_size, PREDICTORS[predictor])
  expected = shared()
  stored = shards.Shards(data_dir, "validation")
  means = []
  for worker in {0, 1, workers - 1} if workers > COUNT else range(workers):
    (found,) = shared.measure(worker=worker, workers=workers)
    numbers = range(worker, COUNT, workers)
    assert found.answers.id.tolist() == sorted(stored.read(n, 32).id.encode() for n in numbers)
    assert found.means["top1_error"].weight == len(numbers)
    means.append(found.means)
  if workers <= COUNT:
    assert metrics.combine(means) == expected


def test_answers_are_those_of_each_image_alone(data_dir):
  net = nets.build()
  many = evaluator(data_dir, net, 16, scales).measure(posteriors=True)
  alone = evaluator(data_dir, net, 1, scales).measure(posteriors=True)
  assert [one.predictor.describe() for one in many] == [
    "dense Q=32, mean of scores, flip",
    "dense Q=40, mean of scores, flip",
    "dense Q=32,40, mean of scores, flip",
  ]
  for one, other in zip(many, alone, strict=True):
    for name in ("id", "label", "classes"):
      np.testing.assert_array_equal(getattr(one.answers, name), getattr(other.answers, name))
    np.testing.assert_allclose(one.answers.probabilities, other.answers.probabilities, atol=1e-6)
  assert many[0].answers.posteriors is None  # the parts that are no means
  posteriors, answers = many[-1].answers.posteriors, many[-1].answers
  assert posteriors.shape == (COUNT, nets.CLASSES)
  best = np.argsort(-posteriors, axis=1, kind="stable")[:, :5]
  np.testing.assert_array_equal(answers.classes, best)
  np.testing.assert_array_equal(answers.probabilities, np.take_along_axis(posteriors, best, 1))


def test_each_scale_is_made_from_the_stored_one_that_suffices(tmp_path):
  """What multi-scale evaluation sees at 32 and 40 are the pictures stored at 32 and 40."""
  folder = samples.digits_like(tmp_path, (32, 40), train=7, validation=5, classes=CLASSES)
  stored = shards.Shards(folder, "validation")
  seen = evaluator(folder, Eye(), 1, scales)
  for batch in seen._feed.batches().as_numpy_iterator():
    number = [stored.read(n, 32).id.encode() for n in range(5)].index(batch.id[0])
    for scale in (32, 40):
      record = stored.read(number, scale)
      np.testing.assert_array_equal(
        batch.image[f"whole_{scale}"][0], pixels.decode_stored(record.encoded)
      )


def test_larger_images_make_smaller_batches(tmp_path):
  folder = samples.digits_like(tmp_path, (32, 64), train=7, validation=48, classes=CLASSES)
  measure = evaluator(folder, Eye(), 8, lambda net: dense.Dense(net, 64))
  for batch in measure._feed.batches().as_numpy_iterator():
    count, height, width, _ = batch.image.shape
    assert count == 1 or count * height * width <= 8 * 32 * 32
    assert batch.weight.tolist() == [1.0] * count
  assert measure()["top1_error"].weight == 48


def test_originals_are_read_where_it_is_asked_for(tmp_path):
  folder = samples.digits_like(tmp_path, (0, 32), train=7, validation=9, classes=CLASSES)
  make = functools.partial(classification.Classification, predictor=PREDICTORS["dense"])
  measure = make(Eye(), folder, originals=True)
  assert measure.protocol == "dense Q=32, mean of scores, flip, original files"
  stored = shards.Shards(folder, "validation")
  originals = {r.id.encode(): r for r in (stored.read(n, 0) for n in range(9))}
  for batch in measure._feed.batches().as_numpy_iterator():
    for id_, image in zip(batch.id, batch.image, strict=True):
      rgb = pixels.decode_stored(originals[id_].encoded)
      apart = pixels.rescale(rgb, 32).astype(int) - image
      assert np.abs(apart).max() <= 1  # Pillow's rounding
  assert measure()["top1_error"] == (0, 9)
  without = samples.digits_like(tmp_path / "without", (32,), train=7, validation=9)
  with pytest.raises(errors.UsageError, match=r"no original files \(scale 0\)"):
    make(Eye(), without, originals=True)


def test_crops_and_scales_are_measured_in_one_pass(data_dir):
  def make(net):
    parts = (scales, lambda net: multi_crop.MultiCrop(net, 40))
    return mean.Mean(net, parts, "combined")

  measured = evaluator(data_dir, Eye((0, 0, 1, 4, 5, 0, 6)), 16, make).measure()
  assert len(measured) == 5
  expected = evaluator(data_dir, Eye((0, 0, 1, 4, 5, 0, 6)), 16)()
  assert all(one.means == expected for one in measured)


def test_a_few_shapes_may_be_compiled(data_dir):
  plain = evaluator(data_dir, Eye((0, 1, 0, 0, 6, 0, 0)), 8, PREDICTORS["dense"])
  compiled = classification.Classification(
    Eye((0, 1, 0, 0, 6, 0, 0)), data_dir, PREDICTORS["dense"], batch_size=8, compiled_shapes=1
  )
  assert compiled() == plain()
  assert len(compiled._shapes) == 1
  assert compiled._compiled.experimental_get_tracing_count() == 1


def test_pictures_resized_by_another_rule_are_refused(tmp_path):
  folder = samples.digits_like(tmp_path, (32,), train=7, validation=2, classes=CLASSES)
  path = pathlib.Path(folder) / manifest.NAME
  found = manifest.from_json(path.read_text(), str(path))
  path.write_text(dataclasses.replace(found, options={"pixels": {"resize": "nearest"}}).to_json())
  with pytest.raises(errors.UsageError, match="the stored scales were resized by 'nearest'"):
    evaluator(folder, Eye())


def test_time_left_is_told(data_dir, caplog, monkeypatch):
  monkeypatch.setattr(classification, "_SECONDS_BETWEEN_LINES", -1)
  monkeypatch.setattr(logging.getLogger("vggtf"), "propagate", True)
  with caplog.at_level(logging.INFO, "vggtf"):
    evaluator(data_dir, Eye(), 15)()
  assert len(caplog.messages) == 3
  assert re.fullmatch(
    r"evaluated 15 of 45 images, \S+ img/s, ETA \d:\d\d:\d\d \(centre 32 of 32\)",
    caplog.messages[0],
  )
