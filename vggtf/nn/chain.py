"""Nets that are one chain: convolutions, norms and poolings, then fc6, fc7 and a last layer.

Those of Krizhevsky, of Zeiler and Fergus, and of the paper are.
"""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.nn import heads, initializers, layers, net, norms, recomputation

HIDDEN_CHANNELS = 4096  # of fc6 and fc7


@dataclasses.dataclass(frozen=True)
class Convolve:
  """A convolution, its norm where the net has one, and a ReLU; see `layers.Convolution`."""

  name: str
  side: int
  channels: int
  stride: int = 1
  padding: str | int = "SAME"
  groups: int = 1
  bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class Pool:
  """A max-pooling; see `layers.max_pool`."""

  window: int = 2
  stride: int = 2


@dataclasses.dataclass(frozen=True)
class Respond:
  """A local response normalisation."""


Step = Convolve | Pool | Respond


class Chain(net.Net):
  """A chain of steps, and fully-connected layers after them; a `contracts.Model`.

  Attributes:
    ends_in: which of contracts.Outputs the last layer computes.
    norms: the norm that follows a convolution, by the convolution's name; empty without.
  """

  def __init__(
    self,
    name: str,
    steps: Sequence[Step],
    classes: int,
    mean_rgb: Sequence[float],
    input_size: int,
    width: float,
    dropout: float,
    initializer: initializers.Initializer | None,
    lrn_form: str,
    pool_rounding: str,
    compute_dtype: str,
    seed: int,
    norm: str | None = None,
    head: str = "classifier",
    hidden_bias: float = 0.0,
    recompute: bool = False,
  ):
    """Builds the net and its variables.

    `steps` come before fc6, at their full width; `hidden_bias` is what the biases of fc6 and fc7
    are at first; the subclasses say what the options are.

    Raises:
      UsageError: an option has no such value, or the steps leave nothing of the input.
    """
    super().__init__(name, classes, mean_rgb, input_size, width, dropout, compute_dtype)
    self._steps = tuple(steps)
    self._recompute = recompute
    self._head = errors.choose("head", head, heads.HEADS)
    self.ends_in = self._head.field
    self._lrn = norms.LocalResponse(lrn_form)
    self._pool_rounding = pool_rounding
    self.norms = {}
    make_norm = errors.choose("norm", norm, norms.NORMS)

    initializer = initializer or initializers.Glorot()
    convolutions = [step for step in self._steps if isinstance(step, Convolve)]
    groups = max(one.groups for one in convolutions)
    channels = 3
    for one in convolutions:
      outputs = self._widen(one.channels, groups)
      self.layers[one.name] = layers.Convolution(
        one.name,
        one.side,
        channels,
        outputs,
        initializer,
        seed,
        one.padding,
        one.stride,
        one.groups,
        one.bias,
      )
      if make_norm:
        self.norms[one.name] = make_norm(one.name.replace("conv", "norm"), outputs)
      channels = outputs
    hidden = self._widen(HIDDEN_CHANNELS)
    side = self._native_side(self._side_after, "fc6")
    for name, kernel, inputs in (("fc6", side, channels), ("fc7", 1, hidden)):
      self.layers[name] = heads.FullyConnected(
        name, kernel, inputs, hidden, initializer, seed, hidden_bias
      )
    if name := self._head.layer:
      outputs = self._head.outputs(classes)
      self.layers[name] = heads.FullyConnected(name, 1, hidden, outputs, initializer, seed)

  def _features(
    self, maps: tf.Tensor, training: contracts.Training | None
  ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
    for block in _blocks(self._steps):
      take = functools.partial(self._take, block)
      if self._recompute and training is not None:
        maps = recomputation.recompute(take, maps, training)
      else:
        maps = take(maps, training)
    for name in ("fc6", "fc7"):
      maps = tf.nn.relu(self.layers[name](maps))
      if training is not None:
        maps = layers.dropout(maps, self._dropout, name, training)
    return tf.cast(maps, tf.float32), ()

  def _take(
    self, steps: Sequence[Step], maps: tf.Tensor, training: contracts.Training | None
  ) -> tf.Tensor:
    # A ReLU and a maximum give the same numbers and gradients in either order. Memory bounds the
    # gradient of a ReLU, so in training it follows the pooling: a quarter of the values are left.
    after_pooling = False
    for step, following in itertools.zip_longest(steps, steps[1:]):
      if isinstance(step, Convolve):  # not `match`, which AutoGraph cannot read
        maps = self.layers[step.name](maps)
        if step.name in self.norms:
          maps = self.norms[step.name](maps, training)
        after_pooling = training is not None and isinstance(following, Pool)
        maps = maps if after_pooling else tf.nn.relu(maps)
      elif isinstance(step, Pool):
        maps = layers.max_pool(maps, self._pool_rounding, step.window, step.stride)
        maps = tf.nn.relu(maps) if after_pooling else maps
        after_pooling = False
      else:
        maps = self._lrn(maps)
    return maps

  def _last(self, features: tf.Tensor) -> tuple[str, tf.Tensor]:
    head = self._head
    values = self.layers[head.layer](features) if head.layer else features
    if head.field == "boxes" and head.of_each_class:
      _, height, width, _ = tf.unstack(tf.shape(values))
      values = tf.reshape(values, (-1, height, width, self.classes, head.numbers))
    return head.field, values

  def _side_after(self, side: int) -> int:
    for step in self._steps:
      if isinstance(step, Convolve):
        side = layers.convolved_side(side, step.side, step.stride, step.padding)
      elif isinstance(step, Pool):
        side = layers.pooled_side(side, self._pool_rounding, step.window, step.stride)
    return side


def _blocks(steps: Sequence[Step]) -> list[list[Step]]:
  """Returns the steps cut after each pooling."""
  blocks = [[]]
  for step in steps:
    blocks[-1].append(step)
    if isinstance(step, Pool):
      blocks.append([])
  return [block for block in blocks if block]
