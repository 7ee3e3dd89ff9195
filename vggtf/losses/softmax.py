"""Multinomial logistic regression, the paper's objective (section 3.1)."""

import tensorflow as tf

from vggtf import contracts, errors


class Softmax:
  """The cross-entropy of a softmax; a `contracts.Loss`.

  loss = -sum_k q_k log softmax(logits)_k, with q the label's one-hot vector, mixed with the uniform
  distribution where labels are smoothed (Szegedy et al., 2016, section 7).
  """

  def __init__(self, label_smoothing: float = 0.0):
    """Takes the share of the uniform distribution, in [0, 1); the paper's is 0.

    Raises:
      UsageError: the share is out of range.
    """
    if not 0 <= label_smoothing < 1:
      raise errors.UsageError(f"label_smoothing={label_smoothing} is not in [0, 1)")
    self._label_smoothing = label_smoothing

  def __call__(self, outputs: contracts.Outputs, labels: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example in nats, float32 [N], for labels int32 [N]."""
    logits = tf.cast(outputs.logits, tf.float32)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if not self._label_smoothing:
      return loss
    uniform = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
    return (1 - self._label_smoothing) * loss + self._label_smoothing * uniform
