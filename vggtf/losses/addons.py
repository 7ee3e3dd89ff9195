"""Losses of TensorFlow Addons that fit: of logits, and of features that are compared in a batch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from vggtf import addons, contracts, errors


class OfLogits:
  """A function of `tfa.losses` that compares logits with one-hot labels; a `contracts.Loss`.

  Such as "sigmoid_focal_crossentropy" or "sparsemax_loss".
  """

  def __init__(self, loss: str, options: Mapping[str, Any] | None = None):
    """Takes the function's name, and its arguments but for labels and predictions.

    Raises:
      UsageError: there is no such function.
      EnvironmentFault: TensorFlow Addons cannot be imported.
    """
    self._function, self._options = _function("OfLogits", loss), dict(options or {})

  def __call__(self, outputs: contracts.Outputs, labels: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example, float32 [N], for labels int32 [N]."""
    logits = tf.cast(outputs.logits, tf.float32)
    target = tf.one_hot(labels, logits.shape[-1])
    return _per_example(self._function(target, logits, **self._options), labels)


class OfFeatures:
  """Another loss plus a function of `tfa.losses` that compares features; a `contracts.Loss`.

  Such as "triplet_semihard_loss" or "lifted_struct_loss". Features are scaled to length 1. The
  function gives one number for a batch, on several replicas for each one's part of it, within which
  it looks for its pairs and triplets; that number is every example's.
  """

  def __init__(
    self,
    loss: str,
    options: Mapping[str, Any] | None = None,
    weight: float = 1.0,
    beside: Callable[[], contracts.Loss] | None = None,
  ):
    """Takes the function and what it stands beside.

    Args:
      loss: the function's name.
      options: its arguments, but for labels and embeddings.
      weight: multiplies it.
      beside: the constructor of the loss that it is added to; with None the last layer does not
        learn.

    Raises:
      UsageError: there is no such function.
      EnvironmentFault: TensorFlow Addons cannot be imported.
    """
    self._function, self._options = _function("OfFeatures", loss), dict(options or {})
    self._weight, self._beside = weight, beside and beside()

  def __call__(self, outputs: contracts.Outputs, labels: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example, float32 [N], for labels int32 [N].

    Raises:
      UsageError: the net gives no features.
    """
    if outputs.features is None:
      raise errors.UsageError(
        "addons.OfFeatures needs a net that gives its features; this has none"
      )
    features = tf.math.l2_normalize(tf.cast(outputs.features, tf.float32), axis=1)
    compared = self._weight * self._function(labels, features, **self._options)
    loss = _per_example(compared, labels)
    return loss + self._beside(outputs, labels) if self._beside else loss


def _function(user: str, name: str) -> Callable:
  losses = addons.load().losses
  known = [one for one in dir(losses) if one.endswith(("_loss", "_crossentropy"))]
  if name not in known:
    close = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise errors.UsageError(
      f"addons.{user}.loss = {name!r} is no function of tfa.losses; known: "
      f"{', '.join(known)}.{hint}"
    )
  return getattr(losses, name)


def _per_example(loss: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  return tf.broadcast_to(tf.cast(loss, tf.float32), tf.shape(labels))
