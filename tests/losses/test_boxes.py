"""The box loss by hand; what moves it and what does not."""

import numpy as np
import pytest
import tensorflow as tf

from vggtf import contracts, errors
from vggtf.losses import boxes

GENERATOR = np.random.default_rng(1)
SHARED, TARGET = GENERATOR.standard_normal((2, 5, 4))
OF_CLASSES = GENERATOR.standard_normal((5, 3, 4))
LABELS = np.array([2, 0, 1, 1, 2], np.int32)


def test_shared_boxes():
  found = boxes.euclidean_shared(tf.constant(SHARED), tf.constant(TARGET))
  assert found.dtype == tf.float32
  np.testing.assert_allclose(found, np.linalg.norm(SHARED - TARGET, axis=1) ** 2 / 2, rtol=1e-6)


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 12)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_boxes_of_the_label(shape, jit_compile):
  predicted = tf.constant(OF_CLASSES.reshape(shape), tf.float32)
  target = tf.constant(TARGET, tf.float32)
  with tf.GradientTape() as tape:
    tape.watch(predicted)
    loss = tf.function(boxes.euclidean_per_class, jit_compile=jit_compile)
    found = loss(predicted, target, tf.constant(LABELS))
  picked = np.stack([OF_CLASSES[place, label] for place, label in enumerate(LABELS)])
  np.testing.assert_allclose(found, ((picked - TARGET) ** 2).sum(axis=1) / 2, rtol=1e-5)

  gradient = np.zeros((5, 3, 4))  # only the label's box is pulled
  gradient[np.arange(5), LABELS] = picked - TARGET
  np.testing.assert_allclose(tape.gradient(found, predicted), gradient.reshape(shape), atol=1e-6)


def test_what_is_no_box_is_refused():
  with pytest.raises(errors.UsageError, match=r"predicted boxes have shape \(5, 3, 4\)"):
    boxes.euclidean_shared(tf.constant(OF_CLASSES), tf.constant(TARGET))
  with pytest.raises(errors.UsageError, match=r"target boxes have shape \(5, 3\)"):
    boxes.euclidean_shared(tf.constant(SHARED), tf.constant(TARGET[:, :3]))
  with pytest.raises(errors.UsageError, match="expected fours"):
    boxes.euclidean_per_class(tf.zeros((5, 10)), tf.constant(TARGET), tf.constant(LABELS))


def test_the_net_s_head_decides_which_box_is_compared():
  target = contracts.Located(tf.constant(LABELS), tf.constant(TARGET, tf.float32))
  picked = OF_CLASSES[np.arange(5), LABELS]
  for predicted, expected in ((SHARED, SHARED), (OF_CLASSES, picked)):
    outputs = contracts.Outputs(None, boxes=tf.constant(predicted, tf.float32))
    found = boxes.Euclidean()(outputs, target)
    np.testing.assert_allclose(found, ((expected - TARGET) ** 2).sum(axis=1) / 2, rtol=1e-5)


def test_a_box_is_judged_by_its_overlap():
  truth = np.array([[0.5, 0.5, 0.6, 0.6]] * 3, np.float32)
  right, wrong = truth[0] + (0.1, 0, 0, 0), truth[0] + (0.25, 0, 0, 0)  # 0.5 / 0.7; 0.35 / 0.85
  outputs = contracts.Outputs(None, boxes=tf.constant([truth[0], right, wrong], tf.float32))
  judged = boxes.Euclidean().judge(outputs, contracts.Located(tf.zeros(3, tf.int32), truth))
  assert {name: one.numpy().tolist() for name, one in judged.items()} == {
    "localisation_error": [0, 0, 1]
  }


def test_a_net_or_a_feed_without_boxes_is_refused():
  target = contracts.Located(tf.constant(LABELS), tf.constant(TARGET, tf.float32))
  with pytest.raises(errors.UsageError, match=r"the net ends in no boxes; bind VGG.head"):
    boxes.Euclidean()(contracts.Outputs(tf.zeros((5, 3))), target)
  with pytest.raises(
    errors.UsageError, match=r"come without boxes; bind TrainingFeed.boxes = True"
  ):
    boxes.Euclidean()(contracts.Outputs(None, boxes=tf.constant(SHARED)), tf.constant(LABELS))
