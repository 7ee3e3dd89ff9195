"""Normalisation of maps: local response (net A-LRN), batch and group.

The paper has only the first, and finds that it does not help (section 4.1). The other two came
later and are there for those who train deep nets without pre-training.
"""

import functools
import math
from typing import NamedTuple

import tensorflow as tf

from vggtf import contracts, errors


class LocalResponseForm(NamedTuple):
  """x / (bias + alpha * sum of x^2 over `2 * radius + 1` channels) ^ beta."""

  bias: float
  alpha: float
  radius: int = 2
  beta: float = 0.75


LOCAL_RESPONSE_FORMS = {
  "alexnet": LocalResponseForm(bias=2.0, alpha=1e-4),  # Krizhevsky et al., 2012, section 3.3
  "caffe": LocalResponseForm(bias=1.0, alpha=1e-4 / 5),  # Caffe divides alpha by the 5 channels
}


class LocalResponse:
  """Divides each activation by what its neighbour channels show at the same place.

  The paper (section 2.1) takes the parameters of Krizhevsky et al.; its own framework, Caffe, has
  the other form, hence the choice.
  """

  def __init__(self, form: str = "alexnet"):
    self._form = errors.choose("lrn_form", form, LOCAL_RESPONSE_FORMS)

  def __call__(self, maps: tf.Tensor) -> tf.Tensor:
    """Returns a tensor like `maps`, [N, H, W, C]."""
    # In float32 like all norms; no CPU or GPU has a kernel for bfloat16.
    normed = tf.nn.local_response_normalization(
      tf.cast(maps, tf.float32),
      self._form.radius,
      self._form.bias,
      self._form.alpha,
      self._form.beta,
    )
    return tf.cast(normed, maps.dtype)


class Batch(tf.Module):
  """Batch normalisation (Ioffe & Szegedy, 2015).

  scale, offset: float32 [channels], trained. moving_mean, moving_variance: float32 [channels], what
  evaluation uses; the variance is the unbiased one, as in the paper's algorithm 2.
  """

  def __init__(self, name: str, channels: int, momentum: float = 0.9, epsilon: float = 1e-5):
    """Creates the variables.

    Args:
      name: of the layer.
      channels: of the maps.
      momentum: what the moving values keep of themselves at a step.
      epsilon: added to the variance.
    """
    super().__init__(name)
    self._momentum = momentum
    self._epsilon = epsilon
    with self.name_scope:
      self.scale = tf.Variable(tf.ones(channels), name="scale")
      self.offset = tf.Variable(tf.zeros(channels), name="offset")
      self.moving_mean = tf.Variable(tf.zeros(channels), trainable=False, name="moving_mean")
      self.moving_variance = tf.Variable(tf.ones(channels), trainable=False, name="moving_variance")

  def __call__(self, maps: tf.Tensor, training: contracts.Training | None) -> tf.Tensor:
    """Normalises [N, H, W, channels] by channel.

    In training the batch's own statistics do it (those of this replica), and the new values of the
    moving ones are appended to `training.updates`; nothing is assigned here.
    """
    # The fused kernel, which has its own gradient: a bfloat16 step of the half-width net D at 32
    # pixels takes 0.74 of the CPU time that it takes with moments and arithmetic in float32. Sums
    # and statistics are float32 in it too.
    kernel = functools.partial(
      tf.raw_ops.FusedBatchNormV3,
      x=maps,
      scale=self.scale,
      offset=self.offset,
      epsilon=self._epsilon,
    )
    if training is None:
      return kernel(mean=self.moving_mean, variance=self.moving_variance, is_training=False).y
    normed = kernel(mean=[], variance=[], is_training=True)
    for moving, new in (
      (self.moving_mean, normed.batch_mean),
      (self.moving_variance, normed.batch_variance),
    ):
      training.updates.append((moving, self._move(moving, new)))
    return normed.y

  def _move(self, moving: tf.Variable, new: tf.Tensor) -> tf.Tensor:
    return self._momentum * moving + (1 - self._momentum) * tf.stop_gradient(new)


class Group(tf.Module):
  """Group normalisation (Wu & He, 2018): of each image by itself, so that batches may be small.

  scale, offset: float32 [channels], trained.
  """

  def __init__(self, name: str, channels: int, groups: int = 32, epsilon: float = 1e-5):
    """Creates the variables.

    Args:
      name: of the layer.
      channels: of the maps.
      groups: of neighbouring channels; where they do not divide the channels, the greatest common
        divisor of the two numbers does.
      epsilon: added to the variance.
    """
    super().__init__(name)
    self._groups = math.gcd(groups, channels)
    self._epsilon = epsilon
    with self.name_scope:
      self.scale = tf.Variable(tf.ones(channels), name="scale")
      self.offset = tf.Variable(tf.zeros(channels), name="offset")

  def __call__(self, maps: tf.Tensor, training: contracts.Training | None = None) -> tf.Tensor:
    """Normalises [N, H, W, channels] by image and group of channels, in training or not."""
    del training  # nothing here differs
    shape = tf.shape(maps)
    grouped = (shape[0], shape[1], shape[2], self._groups, maps.shape[-1] // self._groups)
    values = tf.reshape(tf.cast(maps, tf.float32), grouped)
    mean, variance = tf.nn.moments(values, (1, 2, 4), keepdims=True)
    values = tf.reshape((values - mean) * tf.math.rsqrt(variance + self._epsilon), shape)
    return tf.cast(tf.ensure_shape(values, maps.shape) * self.scale + self.offset, maps.dtype)


NORMS = {None: None, "batch": Batch, "group": Group}
