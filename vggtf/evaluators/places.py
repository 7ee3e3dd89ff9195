"""What a net says at the places of one whole picture (section 3.2), for pictures of that."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, images, schema


class Seen(NamedTuple):
  """What a net says of a photo.

  posteriors: float32 [classes], from the scores' mean over the places.
  places: float32 [h, w, classes], posteriors at each place.
  window: height and width of what a place sees, as fractions of the photo's.
  """

  posteriors: np.ndarray
  places: np.ndarray
  window: tuple[float, float]


def choose_scale(model: contracts.Model, scale: int | None) -> int:
  """Returns a scale for `look`: that which was asked for, or twice the net's input.

  A place then sees half of the smallest side.

  Raises:
    UsageError: the scale is smaller than the net's input.
  """
  if scale is not None and scale < model.input_size:
    raise errors.UsageError(
      f"scale = {scale} is smaller than the net's input of {model.input_size} pixels"
    )
  return scale or 2 * model.input_size


def look(model: contracts.Model, photo: np.ndarray, scale: int) -> Seen:
  """Slides a net over a photo.

  Args:
    model: the net.
    photo: uint8 [H, W, 3], RGB.
    scale: what its smallest side is brought to, pixels; from `choose_scale`.

  Raises:
    UsageError: the net has no class-score map.
  """
  name, end = type(model).__name__, getattr(model, "ends_in", "logits")
  if not hasattr(model, "score_map") or end != "logits":
    lack = f"ends in {end}" if end != "logits" else "has no score_map"
    raise errors.UsageError(
      f"{name} {lack}: only of a net that gives scores of classes at each place can maps be drawn"
    )
  scores = model.score_map(images.rescale(tf.constant(photo), scale)[tf.newaxis])
  height, width = schema.stored_size(*photo.shape[:2], scale)
  return Seen(
    tf.nn.softmax(tf.reduce_mean(scores[0], [0, 1])).numpy(),
    tf.nn.softmax(scores[0]).numpy(),
    (model.input_size / height, model.input_size / width),
  )
