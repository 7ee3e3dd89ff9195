"""Losses of TensorFlow Addons that fit: of logits, and of features that are compared in a batch."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from vggtf import addons, contracts, errors


class OfLogits:
  """A class of `tfa.losses` that compares logits with one-hot labels; a `contracts.Loss`.

  Such as "SigmoidFocalCrossEntropy" or "SparsemaxLoss". Those that may be given probabilities
  instead, by `from_logits`, are told that these are logits.
  """

  def __init__(self, loss: str, options: Mapping[str, Any] | None = None):
    """Takes the class's name and its arguments, as Addons' own documentation has them.

    Raises:
      UsageError: there is no such class, it does not take these options, or is to take logits for
        something else.
      EnvironmentFault: TensorFlow Addons cannot be imported.
    """
    if not (options or {}).get("from_logits", True):
      raise errors.UsageError(
        "addons.OfLogits.options: from_logits = False, but a net gives logits; leave it out"
      )
    self._loss = _construct("OfLogits", loss, options, from_logits=True)

  def __call__(self, outputs: contracts.Outputs, labels: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example, float32 [N], for labels int32 [N]."""
    logits = tf.cast(outputs.logits, tf.float32)
    target = tf.one_hot(labels, logits.shape[-1])
    return _per_example(self._loss.call(target, logits), labels)


class OfFeatures:
  """Another loss plus a class of `tfa.losses` that compares features; a `contracts.Loss`.

  Such as "TripletSemiHardLoss" or "LiftedStructLoss". Features are scaled to length 1. It gives one
  number for a batch, on several replicas for each one's part of it, within which it looks for its
  pairs and triplets; that number is every example's.
  """

  def __init__(
    self,
    loss: str,
    options: Mapping[str, Any] | None = None,
    weight: float = 1.0,
    beside: Callable[[], contracts.Loss] | None = None,
  ):
    """Takes the class and what it stands beside.

    Args:
      loss: the class's name.
      options: its arguments, as Addons' own documentation has them.
      weight: multiplies it.
      beside: the constructor of the loss that it is added to; with None the last layer does not
        learn.

    Raises:
      UsageError: there is no such class, or it does not take these options.
      EnvironmentFault: TensorFlow Addons cannot be imported.
    """
    self._loss = _construct("OfFeatures", loss, options)
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
    compared = self._weight * self._loss.call(labels, features)
    loss = _per_example(compared, labels)
    return loss + self._beside(outputs, labels) if self._beside else loss


def _construct(user: str, name: str, options: Mapping[str, Any] | None, **defaults: Any):
  """Returns a class's object; it is given those of the defaults that it takes."""
  known = {
    one: found
    for one, found in vars(addons.load().losses).items()
    if inspect.isclass(found) and issubclass(found, tf.keras.losses.Loss)
  }
  if name not in known:
    close = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise errors.UsageError(
      f"addons.{user}.loss = {name!r} is no class of tfa.losses; known: {', '.join(known)}.{hint}"
    )
  options = dict(options or {})
  # Some drop what they do not know without a word.
  takes = [one for one in inspect.signature(known[name]).parameters if one != "kwargs"]
  if unknown := sorted(options.keys() - set(takes)):
    raise errors.UsageError(
      f"addons.{user}.options: {name} does not take {', '.join(unknown)}; it takes "
      f"{', '.join(takes)}"
    )
  taken = {one: value for one, value in defaults.items() if one in takes}
  return addons.construct(user, name, known[name], taken | options)


def _per_example(loss: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  return tf.broadcast_to(tf.cast(loss, tf.float32), tf.shape(labels))
