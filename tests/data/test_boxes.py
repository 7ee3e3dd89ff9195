"""Boxes: by hand, in pixels that Pillow drew, and as training is fed with them."""

import dataclasses
import functools
import logging
import math

import numpy as np
import pytest
import tensorflow as tf

from tests import rectangles
from vggtf import errors
from vggtf.data import boxes, pipeline, shards, train_view

SIDE = 28
view = functools.partial(train_view.TrainView, scale_min=28, scale_max=48, padding=3)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
  return rectangles.write(tmp_path_factory.mktemp("rectangles") / "set")


def make_feed(data_set, batch_size=8, **options):
  return pipeline.TrainingFeed(data_set, SIDE, 1, view, batch_size, boxes=True, **options)


def take(feed, steps: int) -> list:
  return list(feed.batches(0).take(steps).as_numpy_iterator())


def test_place_by_hand():
  # 300 x 400 pixels, rescaled to 600 x 800; crops of 400 from (20, -40) and (200, 400).
  corners = np.array([[0.25, 0.5, 0.75, 1.0]] * 2)  # x 200..600, y 300..600
  found = boxes.place(
    corners, np.array([[600, 800]] * 2), np.array([[20, -40], [200, 400]]), 400, np.array([0, 1])
  )
  # x 240..640, y 280..580 in the first crop; x -200..200, y 100..400 in the second, mirrored.
  np.testing.assert_array_equal(found, [[1.1, 1.075, 1, 0.75], [1, 0.625, 1, 0.75]])


def assert_shown(batches) -> int:
  """Compares targets with the pixels of the crops; returns how many objects reach over an edge."""
  cut, apart = 0, []
  for batch in batches:
    for picture, (x, y, width, height) in zip(batch.image, batch.label.box, strict=True):
      corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
      whole = SIDE * np.array(corners, float)
      shown = whole.clip(0, SIDE)
      cut += (shown != whole).any()
      if (shown[2:] - shown[:2]).min() > 1:  # of less there may be no pixel
        apart.append(rectangles.find(picture) - shown)
  np.testing.assert_allclose(apart, 0, atol=1.01)  # edges are found to whole pixels
  np.testing.assert_allclose(np.mean(apart, axis=0), 0, atol=0.25)
  return cut


def test_boxes_are_where_the_pixels_are(data_set):
  batches = take(make_feed(data_set), 9)
  assert 0 < assert_shown(batches) < 60
  for batch in batches:
    assert batch.label.label.tolist() == [int(id_[-5:]) % 2 for id_ in batch.id]
    assert (batch.label.box.dtype, batch.label.box.shape) == (np.float32, (8, 4))
  assert len({tuple(box) for batch in batches for box in batch.label.box}) > 60  # views differ


def test_images_are_those_of_a_feed_without_boxes(data_set):
  plain = pipeline.TrainingFeed(data_set, SIDE, 1, view, 8)
  for one, other in zip(take(make_feed(data_set), 4), take(plain, 4), strict=True):
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.label.label, other.label)
    np.testing.assert_array_equal(one.id, other.id)


def annotate_some(split, at, found):
  """Images have: their box; none; one of another class; a difficult one; theirs and a smaller."""
  (box,) = found
  smaller = dataclasses.replace(box, xmax=(box.xmin + box.xmax) / 2)
  other = dataclasses.replace(box, label=1 - box.label, xmin=0.0, xmax=1.0)
  difficult = dataclasses.replace(box, difficult=True, ymin=0.0)
  return ([box], [], [other], [difficult], [smaller, difficult, box, other])[at % 5]


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
  return rectangles.write(tmp_path_factory.mktemp("partly") / "set", annotate=annotate_some)


def test_images_without_a_box_of_their_class_are_left_out_and_counted(partly, caplog, monkeypatch):
  monkeypatch.setattr(logging.getLogger("vggtf"), "propagate", True)
  with caplog.at_level(logging.INFO, "vggtf"):
    feed = make_feed(partly, batch_size=3)
  assert caplog.messages[-1] == (
    "9 of the 24 images of the split 'train' have a box of their class; 15 are left out"
  )
  batches = take(feed, 6)
  assert_shown(batches)  # so it is the largest of the class
  for epoch in (batches[:3], batches[3:]):
    ids = sorted(id_.decode() for batch in epoch for id_ in batch.id)
    assert ids == [f"train/{at:05d}" for at in range(24) if at % 5 in (0, 4)]


def test_workers_get_the_parts_of_a_batch(partly):
  whole = take(make_feed(partly, batch_size=4), 5)
  for worker in (0, 1):
    own = make_feed(partly, batch_size=4).batches(0, worker, 2).take(5).as_numpy_iterator()
    for batch, other in zip(own, whole, strict=True):
      cut = slice(2 * worker, 2 * worker + 2)
      np.testing.assert_array_equal(batch.label.box, other.label.box[cut])


def test_damaged_images_are_left_out_or_replaced_by_one_with_its_own_box(partly, monkeypatch):
  *_, first, second, _ = make_feed(partly, batch_size=3)._numbers
  found = shards.Shards(partly, "train")
  known = {found.read(number, 32).id for number in (first, second)}
  lost = {"read": first, "read_picture": second}  # when boxes are looked for, and later
  for name, number in lost.items():
    read = getattr(shards.Shards, name)

    def broken(self, which, scale, read=read, number=number):
      if which == number:
        raise errors.IntegrityError(f"record {which} is damaged")
      return read(self, which, scale)

    monkeypatch.setattr(shards.Shards, name, broken)
  feed = make_feed(partly, batch_size=4, max_damaged=3)
  batches = take(feed, 4)  # two epochs of eight
  assert_shown(batches)
  ids = [id_.decode() for batch in batches for id_ in batch.id]
  assert not known & set(ids)
  assert len(set(ids)) == 7
  assert feed.damage() in {(2, 8), (3, 8)}  # at one scale or both
  with pytest.raises(errors.IntegrityError, match="max_damaged = 0 such images were allowed"):
    make_feed(partly)


@pytest.mark.parametrize(
  ("annotate", "count"),
  [(lambda *_: [], 0), (lambda split, at, found: found * (at < 5), 5)],
)
def test_a_set_without_boxes_is_refused_before_the_first_step(tmp_path, annotate, count):  # E9
  folder = rectangles.write(tmp_path / "set", scales=(32,), validation=0, annotate=annotate)
  with pytest.raises(errors.RejectedInputError) as caught:
    make_feed(folder)
  assert caught.value.exit_code == 3
  assert f"{count} of the 24 images of the split 'train' have a box" in str(caught.value)
  assert "expected at least 8, a batch; convert the data again with boxes" in str(caught.value)


def by_hand(one, other) -> float:
  """Intersection over union, as torchvision's box_iou computes it, in Python's floats."""
  (ax, ay, aw, ah), (bx, by, bw, bh) = one, other
  width = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
  height = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
  shared = max(width, 0) * max(height, 0)
  return shared / (aw * ah + bw * bh - shared)


def test_overlap_by_hand():
  random = np.random.RandomState(2)
  one, other = (
    np.concatenate([random.uniform(0, 1, (500, 2)), random.uniform(0.05, 1, (500, 2))], axis=1)
    for _ in range(2)
  )
  expected = [by_hand(*pair) for pair in zip(one, other, strict=True)]
  assert min(expected) == 0
  assert max(expected) > 0.6
  for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
    found = boxes.overlap(tf.constant(one, dtype), tf.constant(other, dtype))
    np.testing.assert_allclose(found, expected, atol=tolerance)
  np.testing.assert_array_equal(
    boxes.misses(tf.constant(one), tf.constant(other)), np.array(expected) <= 0.5
  )


@pytest.mark.parametrize(
  ("box", "overlap"),
  [
    ((0.5, 0.5, 1, 1), 1),
    ((1, 0.5, 2, 1), 0.5),
    ((0.5, 0.5, 0, 1), 0),
    ((0.5, 0.5, -1, -1), 0),
    ((math.inf, 0, 1, 1), 0),
  ],
)
def test_half_an_overlap_is_too_little(box, overlap):
  one, truth = tf.constant([box], tf.float32), tf.constant([[0.5, 0.5, 1, 1]])
  assert boxes.overlap(one, truth).numpy().tolist() == [overlap]
  assert boxes.misses(one, truth).numpy().tolist() == [float(overlap <= 0.5)]


def test_the_label_chooses_among_the_boxes_of_classes():
  of_classes = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
  found = boxes.of_label(tf.constant(of_classes), tf.constant([2, 0]))
  np.testing.assert_array_equal(found, of_classes[[0, 1], [2, 0]])
  np.testing.assert_array_equal(
    boxes.of_label(tf.constant(of_classes[0]), tf.range(3)), of_classes[0]
  )
