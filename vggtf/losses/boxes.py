"""The loss of bounding boxes (paper, appendix A): the Euclidean distance to the ground truth.

Boxes are [N, 4] in whatever coordinates the net regresses: in the paper centre, width and height.
"""

import tensorflow as tf

from vggtf import errors


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
  for name, boxes in (("predicted", predicted), ("target", target)):
    if boxes.shape.rank != 2 or boxes.shape[1] != 4:
      raise errors.UsageError(f"{name} boxes have shape {boxes.shape}: expected [N, 4]")
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
  boxes = tf.reshape(predicted, (tf.shape(labels)[0], -1, 4))
  return euclidean_shared(tf.gather(boxes, labels, axis=1, batch_dims=1), target)
