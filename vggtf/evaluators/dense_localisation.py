"""The error of class and box together, found densely: the second protocol of appendix A.2.

Two nets slide over whole pictures: a classifier says what is there and how surely at each place,
and another gives a box at each place. The boxes of a class are merged greedily, and rated by its
posteriors; the best is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, images
from vggtf.data import boxes
from vggtf.evaluators import boxed, merging


class Part(NamedTuple):
  """A net and how it looks at a picture, for the results."""

  model: contracts.Model
  name: str
  scale: int

  def describe(self) -> str:
    return f"{self.name} Q={self.scale}"


class DenseBoxes:
  """The boxes of a class at all places of a picture at several scales, and how sure each is.

  Args:
    model: ends in boxes.
    classifier: of the same input size.
    scales: smallest sides in pixels, Q.
    guesses: how many classes are answered.
    threshold: see `merging.merge`; told in the results.
    stride: pixels from a place to the next, the product of all poolings' strides.

  Raises:
    UsageError: a net ends in something else, or the sizes do not fit.
  """

  name = "dense_boxes"
  fixed_size = False

  def __init__(
    self,
    model: contracts.Model,
    classifier: contracts.Model,
    scales: Sequence[int],
    guesses: int,
    threshold: float,
    stride: int,
  ):
    for net, end in ((model, "boxes"), (classifier, "logits")):
      if getattr(net, "ends_in", end) != end:
        raise errors.UsageError(
          f"DenseLocalisation: a net ends in {net.ends_in} where {end} are expected; --workdir is "
          "that of a net of gin/with/boxes.gin, DenseLocalisation.run that of a classifier"
        )
    if classifier.input_size != model.input_size or min(scales, default=0) < model.input_size:
      raise errors.UsageError(
        f"DenseLocalisation: a classifier of {classifier.input_size} pixels, boxes of "
        f"{model.input_size} and scales {tuple(scales)}: expected one input size, and no smaller Q"
      )
    self.model, self.scales = model, tuple(scales)
    self.scale = sorted(scales)[len(scales) // 2]
    self._classifier, self._guesses = classifier, guesses
    self._threshold, self._stride = threshold, stride
    of_both = ((model, self.name), (classifier, "dense"))
    self.members = (*(Part(*one, q) for one in of_both for q in self.scales), self)

  def prepare(self, picture: images.Picture) -> dict[str, tf.Tensor]:
    """Returns the whole picture, uint8 [H, W, 3], at each scale."""
    return {f"whole_{scale}": images.rescale(picture, scale) for scale in self.scales}

  def __call__(
    self, views: dict[str, tf.Tensor], labels: tf.Tensor
  ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Looks at pictures of one size.

    Args:
      views: uint8 [N, H, W, 3] at each scale.
      labels: int32 [N], the classes whose boxes are asked for.

    Returns:
      Whether the class is among the guesses, bool [N]; the boxes of all places and scales, float32
      [N, P, 4], centre x and y, width and height as fractions of the picture's width and height;
      and the class's posterior at each of them, float32 [N, P].
    """
    posteriors, found, ratings = [], [], []
    for scale in self.scales:
      whole = views[f"whole_{scale}"]
      scores, of_places = self._classifier.score_map(whole), self.model.score_map(whole)
      posteriors.append(tf.nn.softmax(tf.reduce_mean(scores, [1, 2])))
      ratings.append(_flat(tf.gather(tf.nn.softmax(scores), labels, axis=3, batch_dims=1)))
      if of_places.shape.rank == 5:
        of_places = tf.gather(of_places, labels, axis=3, batch_dims=1)
      found.append(_flat(self._in_picture(of_places, tf.shape(whole))))
    mean = tf.add_n(posteriors) / len(posteriors)
    best = tf.math.top_k(mean, min(self._guesses, mean.shape[-1])).indices
    guessed = tf.reduce_any(tf.equal(best, labels[:, tf.newaxis]), axis=1)
    return guessed, tf.concat(found, axis=1), tf.concat(ratings, axis=1)

  def describe(self) -> str:
    scales = ",".join(map(str, self.scales))
    return (
      f"top-{self._guesses} classes and their boxes, dense Q={scales}, merged above "
      f"{self._threshold:g}"
    )

  def _in_picture(self, of_places: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Brings boxes [N, h, w, 4] from the frames of their places to that of the picture."""
    height, width = (tf.cast(shape[axis], tf.float32) for axis in (1, 2))
    places = [tf.range(tf.shape(of_places)[axis]) * self._stride for axis in (1, 2)]
    y, x = (tf.cast(one, tf.float32) for one in tf.meshgrid(*places, indexing="ij"))
    nothing = tf.zeros_like(x)
    pixels = self.model.input_size * tf.cast(of_places, tf.float32)
    pixels += tf.stack([x, y, nothing, nothing], axis=-1)
    return pixels / tf.stack([width, height, width, height])


class DenseLocalisation(boxed.Boxed):
  """Measures classes and boxes together.

  An image is right if its class is among the guesses, and the intersection over union of the best
  merged box of that class with a true one is more than 1/2.

  Args:
    model: the net, which ends in boxes.
    data_dir: a converted data set.
    run: folder of the classifier.
    within: makes a run's configuration the current one; gin/eval/dense_localisation.gin binds it.
    load: returns the net of a run, called within its configuration; bound there as well.
    scales: smallest sides in pixels, Q.
    guesses: how many classes are answered.
    threshold: intersection over union of which two boxes are merged, if it is more.
    stride: pixels from a place of a map to the next.
    split: on which images.
    batch_size: images a batch, at most; of larger ones than the net's, as many pixels.
    max_missing: how many images may have no box of their class; they are left out.

  Raises:
    IntegrityError: the classifier's classes are others.
  """

  def __init__(
    self,
    model: contracts.Model,
    data_dir: str,
    run: str,
    within: Callable[[str], AbstractContextManager],
    load: Callable[[str], contracts.Model],
    scales: Sequence[int] = (256,),
    guesses: int = 5,
    threshold: float = 0.5,
    stride: int = 32,
    split: str = "validation",
    batch_size: int = 64,
    max_missing: int = 0,
  ):
    with within(run):
      classifier = load(run)
    if classifier.source.labels != model.source.labels:
      raise errors.IntegrityError(
        f"DenseLocalisation.run = {run!r} has other classes than the net of boxes; take a "
        "classifier that was trained on the same set"
      )
    predictor = DenseBoxes(model, classifier, scales, guesses, threshold, stride)
    metric = f"top{guesses}_localisation_error"
    super().__init__(model, data_dir, predictor, metric, split, batch_size, max_missing)
    self._threshold = threshold
    signature = [self.batch_spec.image, self.batch_spec.label]
    self._graph = tf.function(predictor.__call__, input_signature=signature)

  def wrong(self, batch: contracts.Batch, counts: np.ndarray) -> np.ndarray:
    """Returns float32 [N]; see `boxed.Boxed.wrong`."""
    ids = batch.id.numpy()
    guessed, found, ratings = (one.numpy() for one in self._graph(batch.image, batch.label))
    boxed.check_finite(found[counts], ids[counts])
    boxed.check_finite(ratings[counts], ids[counts])
    wrong = np.ones(len(ids), np.float32)
    for place in np.flatnonzero(counts & guessed):
      of_places = found[place].astype(np.float64), ratings[place].astype(np.float64)
      (best, *_), _ = merging.merge(*of_places, self._threshold)
      corners, *_ = self.truth[ids[place]]
      wrong[place] = boxed.misses_all(best, boxes.centred(corners))
    return wrong


def _flat(of_places: tf.Tensor) -> tf.Tensor:
  """Returns [N, h * w, ...] of [N, h, w, ...]."""
  shape = tf.shape(of_places)
  return tf.reshape(of_places, tf.concat([shape[:1], [shape[1] * shape[2]], shape[3:]], axis=0))
