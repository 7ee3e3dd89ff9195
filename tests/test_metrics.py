import math

import numpy as np
import pytest
import tensorflow as tf

from vggtf import metrics


def errors_by_numpy(scores, labels, k):
  guesses = np.argsort(-scores, axis=1, kind="stable")[:, :k]
  return (~(guesses == labels[:, None]).any(axis=1)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 2, 5, 10, 11, 100])
@pytest.mark.parametrize("levels", [2, 4, 1_000_000])  # few levels: many ties
def test_top_k_errors_are_those_of_a_stable_sort(k, levels):
  random = np.random.RandomState(k)
  scores = random.randint(0, levels, (400, 10)).astype(np.float32)
  labels = random.randint(0, 10, 400).astype(np.int32)
  found = metrics.top_k_errors(tf.constant(scores), tf.constant(labels), k)
  assert found.dtype == tf.float32
  np.testing.assert_array_equal(found, errors_by_numpy(scores, labels, k))


def test_of_equal_scores_the_lower_classes_are_the_guesses():
  scores, labels = tf.zeros([10, 10]), tf.range(10)
  assert metrics.top_k_errors(scores, labels, 5).numpy().tolist() == [0.0] * 5 + [1.0] * 5


def test_more_guesses_than_classes_are_never_wrong():
  assert metrics.top_k_errors(tf.zeros([3, 3]), tf.range(3), 5).numpy().tolist() == [0.0] * 3


def test_it_works_in_a_graph_of_any_batch_size():
  function = tf.function(
    lambda scores, labels: metrics.top_k_errors(scores, labels, 5),
    input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int32)],
  )
  assert function(tf.zeros([2, 3]), [0, 2]).numpy().tolist() == [0.0, 0.0]


def test_counts_add_exactly_beyond_float32():
  mean = metrics.Mean(2.0**24, 2.0**25)
  for _ in range(3):
    mean = mean.add(tf.constant([1.0, 0.0]), tf.ones(2))
  assert mean == (2.0**24 + 3, 2.0**25 + 6)


def test_padding_does_not_count():
  mean = metrics.Mean().add(tf.constant([3.0, 5.0, 700.0]), tf.constant([1.0, 1.0, 0.0]))
  assert mean == (8.0, 2.0)
  assert mean.value == 4.0


def test_parts_of_any_size_add_up_to_the_whole():
  wrong = np.random.RandomState(0).randint(0, 2, 1000).astype(np.float32)
  for size in (1, 7, 1000):
    mean = metrics.Mean()
    for at in range(0, 1000, size):
      part = wrong[at : at + size]
      mean = mean.add(tf.constant(part), tf.ones(len(part)))
    assert mean == (wrong.sum(), 1000.0)
    assert mean.value == wrong.mean(dtype=np.float64)


def test_the_mean_of_nothing_is_not_a_number():
  assert math.isnan(metrics.Mean().value)
