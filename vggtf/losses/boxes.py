"""The loss of bounding boxes (paper, appendix A): the Euclidean distance to the ground truth.

Boxes are [N, 4]: centre, width and height, in the units of vggtf/data/boxes.py.
"""

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.data import boxes


class Euclidean:
  """Half the squared distance of a net's box from the truth; a `contracts.Loss`.

  The net's head decides: one box for all classes (SCR, "box"), or that of the image's class (PCR,
  "class_boxes"), see appendix A.1.
  """

  def __call__(self, outputs: contracts.Outputs, labels: contracts.Located) -> tf.Tensor:
    """Returns the loss of each example, float32 [N].

    Raises:
      UsageError: the net ends in no boxes, or the feed knows none.
    """
    if outputs.boxes is None:
      raise errors.UsageError(
        "boxes.Euclidean: the net ends in no boxes; bind VGG.head = 'box' or 'class_boxes', as "
        "gin/with/boxes.gin does"
      )
    if not isinstance(labels, contracts.Located):
      raise errors.UsageError(
        "boxes.Euclidean: the training images come without boxes; bind TrainingFeed.boxes = True"
      )
    if outputs.boxes.shape.rank == 2:
      return euclidean_shared(outputs.boxes, labels.box)
    return euclidean_per_class(outputs.boxes, labels.box, labels.label)

  def judge(self, outputs: contracts.Outputs, labels: contracts.Located) -> dict[str, tf.Tensor]:
    """Returns which boxes overlap too little with those that are learnt."""
    predicted = boxes.of_label(outputs.boxes, labels.label)
    return {"localisation_error": boxes.misses(predicted, labels.box)}


def euclidean_shared(predicted: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
  """Returns half the squared distance of each pair of boxes, Caffe's Euclidean loss.

  For single-class regression (SCR): one box an image, whatever its class.

  Args:
    predicted: floating [N, 4].
    target: floating [N, 4].

  Returns:
    float32 [N].

  Raises:
    UsageError: the boxes are not [N, 4].
  """
  for name, given in (("predicted", predicted), ("target", target)):
    if given.shape.rank != 2 or given.shape[1] != 4:
      raise errors.UsageError(f"{name} boxes have shape {given.shape}: expected [N, 4]")
  difference = tf.cast(predicted, tf.float32) - tf.cast(target, tf.float32)
  return tf.reduce_sum(difference**2, axis=1) / 2


def euclidean_per_class(predicted: tf.Tensor, target: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """Returns the loss of the box of each example's class; those of other classes are not touched.

  For per-class regression (PCR): a box an image and class.

  Args:
    predicted: floating [N, classes, 4], or [N, classes * 4] as a last layer has it.
    target: floating [N, 4].
    labels: int32 [N].

  Returns:
    float32 [N].

  Raises:
    UsageError: the predicted boxes are not fours of numbers.
  """
  if predicted.shape[-1] % 4:
    raise errors.UsageError(f"predicted boxes have shape {predicted.shape}: expected fours")
  of_classes = tf.reshape(predicted, (tf.shape(labels)[0], -1, 4))
  return euclidean_shared(boxes.of_label(of_classes, labels), target)
