"""Error rates on a set whose right answers are known."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests import samples
from vggtf import contracts, errors
from vggtf.data import reader
from vggtf.evaluators import classification
from vggtf.predictors import centre, dense

CLASSES, COUNT = 7, 45  # images of a class differ in shape; 45 is no multiple of most batches


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("painted") / "data"
  return samples.digits_like(folder, scales=(32,), train=7, validation=COUNT, classes=CLASSES)


class Eye(tf.Module):
  """A net that sees the class in the mean colour; what it answers for a class can be chosen.

  places: int [CLASSES]: at which place of the ranking the right class comes, 0 the first.
  """

  input_size, classes = 32, CLASSES

  def __init__(self, places=(0,) * CLASSES):
    super().__init__()
    self._colours = tf.constant(
      [samples.colour(label, CLASSES) for label in range(CLASSES)], tf.float32
    )
    self._places = tf.constant(places)

  def __call__(self, images, training=None):
    return contracts.Outputs(self._scores(images))

  def score_map(self, images):
    return self._scores(images)[:, tf.newaxis, tf.newaxis]

  def _scores(self, images):
    colour = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])
    distances = tf.norm(colour[:, tf.newaxis] - 0.7 * self._colours - 0.3 * 127.5, axis=2)
    seen = tf.argmin(distances, axis=1, output_type=tf.int32)
    others = tf.tile(tf.range(CLASSES)[tf.newaxis], [tf.shape(seen)[0], 1])
    # The others keep their order; the class that is seen comes before the one at its place.
    rank = tf.where(others < seen[:, tf.newaxis], others, others - 1)
    place = tf.gather(self._places, seen)[:, tf.newaxis]
    return -tf.where(
      others == seen[:, tf.newaxis], tf.cast(place, tf.float32) - 0.5, tf.cast(rank, tf.float32)
    )


def evaluator(data_dir, net, batch_size=64, predictor=lambda net: centre.Centre(net, 32)):
  return classification.Classification(net, data_dir, predictor, batch_size=batch_size)


PREDICTORS = {
  "centre": lambda net: centre.Centre(net, 32),
  "dense": lambda net: dense.Dense(net, 32),
}


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
def test_posteriors_that_are_not_finite_are_no_measurement(data_dir, value):
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
  with pytest.raises(errors.UsageError, match="has no split 'test'"):
    classification.Classification(Eye(), data_dir, PREDICTORS["centre"], split="test")


def test_a_split_without_images_is_refused(tmp_path):
  folder = samples.digits_like(tmp_path / "data", (32,), train=7, validation=0, classes=CLASSES)
  with pytest.raises(errors.UsageError, match=r"split 'validation' of .* has no images"):
    evaluator(folder, Eye())
