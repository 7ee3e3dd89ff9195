"""A net that sees the class in the mean colour; what it answers for a class can be chosen."""

import tensorflow as tf

from tests import samples
from vggtf import contracts

CLASSES = 7


class Eye(tf.Module):
  """places: int [CLASSES]: at which place of the ranking the right class comes, 0 the first."""

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
