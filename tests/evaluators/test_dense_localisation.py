"""Dense boxes of nets that see, against windows cut and merged one by one in numpy."""

import contextlib
import re
import types

import numpy as np
import pytest
import tensorflow as tf

from data_tools import pixels
from tests import rectangles
from vggtf import errors
from vggtf.data import shards
from vggtf.evaluators import dense_localisation, merging
from vggtf.reports import measurement

COUNT, SCALES, SIDE, STRIDE = 11, (40, 56), 32, 16


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return rectangles.write(
    tmp_path_factory.mktemp("rectangles") / "set", SCALES, train=4, validation=COUNT
  )


def windows(whole):
  """Returns [N, h, w, SIDE, SIDE, 3] of [N, H, W, 3]."""
  sizes = [1, SIDE, SIDE, 1]
  found = tf.image.extract_patches(whole, sizes, [1, STRIDE, STRIDE, 1], [1, 1, 1, 1], "VALID")
  return tf.reshape(found, (*tf.unstack(tf.shape(found)[:3]), SIDE, SIDE, 3))


class Seeing(tf.Module):
  input_size, classes = SIDE, 2
  source = types.SimpleNamespace(
    labels=("red", "blue"), run="run", step=0, sha256="", averaged=False, trained_at=None
  )


class Classifier(Seeing):
  """Scores are shares of red and of blue."""

  def score_map(self, images):
    levels = tf.cast(windows(images), tf.float32)
    return tf.reduce_mean(tf.gather(levels, [0, 2], axis=-1), [3, 4]) / 16


class Finder(Seeing):
  """The box of what is red or blue in a window; that of no class is any good."""

  def score_map(self, images):
    levels = tf.cast(windows(images), tf.float32)
    inside = levels[..., 0] + levels[..., 2] > 160
    corners = []
    for axis in (3, 4):  # over rows, to find columns; then the other way round
      line = tf.cast(tf.reduce_any(inside, axis), tf.float32)
      first = tf.argmax(line, axis=3, output_type=tf.int32)
      last = SIDE - tf.argmax(line[..., ::-1], axis=3, output_type=tf.int32)
      corners.append((tf.cast(first, tf.float32), tf.cast(last, tf.float32)))
    (xmin, xmax), (ymin, ymax) = corners
    box = tf.stack([(xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin], -1) / SIDE
    colour = tf.reduce_mean(levels[..., 2] - levels[..., 0], [3, 4]) > 0
    chosen = tf.one_hot(tf.cast(colour, tf.int32), 2)[..., tf.newaxis]
    return box[..., tf.newaxis, :] * chosen + (1 - chosen) * 7


def make(data_dir, model=None, **options):
  return dense_localisation.DenseLocalisation(
    model or Finder(),
    data_dir,
    run="classifier",
    within=contextlib.nullcontext,
    **{"load": lambda run: Classifier(), "scales": SCALES, "stride": STRIDE, "guesses": 1}
    | options,
  )


def overlap(one, other):
  """Intersection over union of corners."""
  sides = [max(min(one[i + 2], other[i + 2]) - max(one[i], other[i]), 0) for i in (0, 1)]
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
  return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def merge(groups):
  """Merges [(rating, corners that went into it)] by trying all pairs; returns the best box."""
  while True:
    mean = [np.mean(members, axis=0) for _, members in groups]
    pairs = [
      (overlap(mean[i], mean[j]), -i, -j) for i in range(len(mean)) for j in range(i + 1, len(mean))
    ]
    most, i, j = max(pairs, default=(0, 0, 0))
    if most <= 0.5:
      return mean[max(range(len(groups)), key=lambda at: groups[at][0])]
    other = groups.pop(-j)
    groups[-i] = (groups[-i][0] + other[0], groups[-i][1] + other[1])


def answer(stored, number) -> tuple[bool, list[float]]:
  """Returns whether the class is seen, and the best box as fractions of the picture."""
  groups, means = [], []
  for scale in SCALES:
    record = stored.read(number, scale)
    whole = pixels.decode_stored(record.encoded)
    height, width, _ = whole.shape
    scores = []
    for top in range(0, height - SIDE + 1, STRIDE):
      for left in range(0, width - SIDE + 1, STRIDE):
        window = whole[top : top + SIDE, left : left + SIDE]
        scores.append(window[..., [0, 2]].mean((0, 1)) / 16)
        rating = np.exp(scores[-1][record.label]) / np.exp(scores[-1]).sum()
        found = rectangles.find(window)
        found = np.array([0, 0, SIDE, SIDE]) if np.isnan(found[0]) else found
        colour = int(window[..., 2].mean() > window[..., 0].mean())
        centre, size = (found[:2] + found[2:]) / 2, found[2:] - found[:2]
        if colour != record.label:
          centre = size = np.array([7 * SIDE, 7 * SIDE])
        corners = np.concatenate([centre - size / 2, centre + size / 2]) + [left, top] * 2
        groups.append((rating, [corners / [width, height, width, height]]))
    means.append(np.exp(np.mean(scores, axis=0)) / np.exp(np.mean(scores, axis=0)).sum())
  return np.mean(means, axis=0).argmax() == record.label, merge(groups)


def test_errors_are_those_of_windows_one_by_one(data_dir):
  stored, wrong = shards.Shards(data_dir, "validation"), 0
  for number in range(COUNT):
    guessed, box = answer(stored, number)
    (truth,) = stored.read(number, SCALES[0]).boxes
    found = overlap(box, (truth.xmin, truth.ymin, truth.xmax, truth.ymax))
    assert abs(found - 0.5) > 0.01  # so that no rounding decides
    wrong += not (guessed and found > 0.5)
  assert wrong < COUNT
  measure = make(data_dir)
  assert measure() == {"top1_localisation_error": (wrong, COUNT)}
  assert measure.protocol == "top-1 classes and their boxes, dense Q=40,56, merged above 0.5"


def test_the_class_must_be_among_the_guesses(data_dir):
  class Blind(Classifier):
    def score_map(self, images):
      return -super().score_map(images)

  wrong = make(data_dir, load=lambda run: Blind())()["top1_localisation_error"]
  assert wrong == (COUNT, COUNT)
  either = make(data_dir, load=lambda run: Blind(), guesses=2)()["top2_localisation_error"]
  assert either.total < COUNT


def test_one_box_for_all_classes_is_found_as_well(data_dir):
  class Shared(Finder):
    def score_map(self, images):
      return tf.reduce_min(super().score_map(images), axis=3)  # not the 7s

  assert make(data_dir, Shared())()["top1_localisation_error"].total < COUNT


def test_nets_that_do_not_fit_are_refused(data_dir):
  class Larger(Classifier):
    input_size = 40

  class OfOthers(Classifier):
    source = types.SimpleNamespace(labels=("red", "green"))

  class OfClasses(Finder):
    ends_in = "logits"

  with pytest.raises(errors.UsageError, match="a classifier of 40 pixels, boxes of 32"):
    make(data_dir, load=lambda run: Larger())
  with pytest.raises(errors.IntegrityError, match="'classifier' has other classes"):
    make(data_dir, load=lambda run: OfOthers())
  with pytest.raises(errors.UsageError, match="a net ends in logits where boxes are expected"):
    make(data_dir, OfClasses())
  for scales in ((31,), ()):
    told = rf"scales {re.escape(str(scales))}: expected one input size, and no smaller Q"
    with pytest.raises(errors.UsageError, match=told):
      make(data_dir, scales=scales)


def test_merging_by_hand():
  found = np.array([[5, 5, 10, 10], [6, 5, 10, 10], [30, 30, 4, 4], [5, 6, 10, 10]], float)
  merged, ratings = merging.merge(found, np.array([0.1, 0.2, 0.5, 0.3]))
  # 90 / 110 of the first two first, then 87 / 113 of their mean and the last.
  np.testing.assert_allclose(merged, [[16 / 3, 16 / 3, 10, 10], [30, 30, 4, 4]])
  np.testing.assert_allclose(ratings, [0.6, 0.5])
  apart, ratings = merging.merge(found, np.arange(4.0), threshold=1.0)
  np.testing.assert_array_equal(apart, found[::-1])
  assert ratings.tolist() == [3, 2, 1, 0]
  one, _ = merging.merge(found[:1], np.ones(1))
  np.testing.assert_array_equal(one, found[:1])


def test_results_name_both_nets(data_dir):
  measure = make(data_dir)
  (found,) = measure.measure()
  line = measurement.describe(found.predictor, Finder(), measure.remark, measure.split, "")
  assert [net["views"] for net in line["nets"]] == [
    [["dense_boxes", 40, "dense_boxes Q=40", ""], ["dense_boxes", 56, "dense_boxes Q=56", ""]],
    [["dense", 40, "dense Q=40", ""], ["dense", 56, "dense Q=56", ""]],
  ]
