"""How large activations and gradients are before the first step, layer by layer.

Why a net trains or stalls is seen there: drawn from N(0, 0.01^2), each layer of a VGG shrinks what
it passes on, so that a deep one's logits do not depend on the image, and the gradients of its first
layers vanish. That is the paper's reason for staging (section 3.1).
"""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

import tensorflow as tf

from vggtf import contracts
from vggtf.training import pairing, traced_layers

_log = logging.getLogger(__name__)


class Magnitude(NamedTuple):
  """Of one layer.

  activation: standard deviation of its outputs before the non-linearity, over images and places.
  gradient: root of the mean square of the mean loss's gradients by its variables.
  """

  layer: str
  activation: float
  gradient: float


class Board(Protocol):
  """Where curves are drawn, such as `hooks.TensorBoard`."""

  def scalars(self, scalars: dict[str, float], step: int) -> None:
    """Writes one point of each curve."""


def measure(
  net: contracts.Model,
  loss: contracts.Loss,
  images: tf.Tensor,
  labels: tf.Tensor | contracts.Located,
  seed: int = 0,
) -> list[Magnitude]:
  """Returns the magnitudes of the layers that have trained variables, in the order of the net.

  Args:
    net: as it is.
    loss: of each example.
    images: uint8 [N, input_size, input_size, 3].
    labels: theirs.
    seed: of the dropout masks; activations are measured without them.

  Raises:
    UsageError: the loss is of something else than the net's head or the labels.
  """
  trace = traced_layers.trace(net, batch=len(images))
  activations = [tf.math.reduce_std(tf.cast(o, tf.float32)) for o in trace.outputs(images)]
  variables = [variable for layer in trace.layers for variable in layer.variables]
  with tf.GradientTape() as tape:
    outputs = net(images, contracts.Training(tf.constant([seed, 0])))
    pairing.check(loss, outputs, labels)
    mean = tf.reduce_mean(loss(outputs, labels))
  gradients = tape.gradient(mean, variables)
  by_variable = {v.ref(): one for v, one in zip(variables, gradients, strict=True)}
  found = []
  for layer, activation in zip(trace.layers, activations, strict=True):
    own = [one for v in layer.variables if (one := by_variable[v.ref()]) is not None]
    if own:
      total = sum(float(tf.reduce_sum(tf.square(one))) for one in own)
      count = sum(int(tf.size(one)) for one in own)
      found.append(Magnitude(layer.name, float(activation), (total / count) ** 0.5))
  return found


def text(magnitudes: list[Magnitude]) -> str:
  """Returns them as a table."""
  width = max(len(one.layer) for one in magnitudes)
  lines = [f"{'layer':<{width}}  activations' std  gradients' rms"]
  lines += [f"{m.layer:<{width}}  {m.activation:16.2e}  {m.gradient:14.2e}" for m in magnitudes]
  return "\n".join(lines)


def report(
  net: contracts.Model,
  loss: contracts.Loss,
  batch: contracts.Batch,
  board: Board,
  most: int = 32,
) -> list[Magnitude]:
  """Measures on the first images of a batch, and tells the log and TensorBoard, as of step 0.

  Args:
    net: as it was drawn.
    loss: of each example.
    batch: of one replica.
    board: gets a scalar `activation_std/<layer>` and `gradient_rms/<layer>` for each layer.
    most: images that are measured; more tell little more.
  """
  labels = tf.nest.map_structure(lambda one: one[:most], batch.label)
  magnitudes = measure(net, loss, batch.image[:most], labels)
  _log.info("magnitudes before the first step:\n%s", text(magnitudes))
  board.scalars({f"activation_std/{m.layer}": m.activation for m in magnitudes}, 0)
  board.scalars({f"gradient_rms/{m.layer}": m.gradient for m in magnitudes}, 0)
  return magnitudes
