"""A loss made larger before its gradients, so that those of a float16 net do not vanish.

float16 has no number between 0 and 6e-8, and many gradients of activations are smaller. All of them
are proportional to the loss (Micikevicius et al., 2018, section 3.2).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import tensorflow as tf

from vggtf import errors

_log = logging.getLogger(__name__)

LEAST, MOST = (
  1.0,
  2.0**24,
)  # below the first the loss is made smaller, past the second nothing is won


class Dynamic(tf.Module):
  """The largest power of 2 that gradients bear: doubled after many finite steps, halved after none.

  Attributes:
    scale: float32, what the loss is multiplied by.
    streak: int64, finite steps since the scale last changed.
    skipped: int64, the steps of the run whose gradients were not finite; they changed nothing else.
  """

  def __init__(self, initial: float = 2.0**15, growth_every: int = 2000):
    """Creates the variables, inside the strategy's scope.

    Args:
      initial: the first scale.
      growth_every: finite steps in a row after which the scale is doubled.

    Raises:
      UsageError: an option is out of range.
    """
    super().__init__("loss_scale")
    if not LEAST <= initial <= MOST or growth_every < 1:
      raise errors.UsageError(
        f"loss_scale.Dynamic(initial={initial}, growth_every={growth_every}): expected a scale of "
        f"{LEAST:g} to {MOST:g}, and at least 1 step"
      )
    self._growth_every = growth_every
    with self.name_scope:
      self.scale = tf.Variable(initial, trainable=False, dtype=tf.float32, name="scale")
      self.streak = tf.Variable(0, trainable=False, dtype=tf.int64, name="streak")
      self.skipped = tf.Variable(0, trainable=False, dtype=tf.int64, name="skipped")

  def unscale(self, gradients: Iterable[tf.Tensor]) -> list[tf.Tensor]:
    """Returns what the gradients of the loss itself are, float32."""
    return [tf.cast(one, tf.float32) / self.scale for one in gradients]

  def observe(self, gradients: Iterable[tf.Tensor]) -> tf.Tensor:
    """Adapts the scale, in each replica alike.

    Args:
      gradients: summed over the replicas, and so the same in each.

    Returns:
      Whether all are finite, bool: if not, this step must change no weight.
    """
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(one)) for one in gradients])
    streak = tf.where(finite, self.streak + 1, 0)
    doubled = streak == self._growth_every
    factor = tf.where(finite, tf.where(doubled, 2.0, 1.0), 0.5)
    scale = tf.clip_by_value(self.scale * factor, LEAST, MOST)
    for variable, value in (
      (self.scale, scale),
      (self.streak, tf.where(doubled, tf.zeros_like(streak), streak)),
      (self.skipped, self.skipped + tf.cast(~finite, tf.int64)),
    ):
      # The kernel takes a handle, which inside a replica is that replica's own.
      tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
    return finite

  def state(self) -> tuple[int, float]:
    """Returns the steps skipped so far, and the scale; what `tell` is given later."""
    return int(self.skipped.numpy()), float(self.scale.numpy())

  def tell(self, steps: int, skipped_before: int, scale_before: float) -> dict[str, float]:
    """Returns the scale and which share of the last steps was skipped, and logs those.

    Args:
      steps: how many they were.
      skipped_before: of the run, when they began.
      scale_before: the scale then.

    Raises:
      DivergedError: the gradients overflow although the loss is not scaled any more.
    """
    total, scale = self.state()
    skipped = total - skipped_before
    if skipped:
      _log.info(
        "%d of %d steps skipped, %d in all: float16 gradients overflowed; the loss scale is %g",
        skipped,
        steps,
        total,
        scale,
      )
    if skipped == steps and scale_before / 2 ** (steps - 1) <= LEAST:  # of the last of them
      raise errors.DivergedError(
        f"the gradients of the last {steps} steps are not finite, with a loss scale of {LEAST:g} "
        "too; compute in bfloat16, or lower the learning rate"
      )
    return {"loss_scale": scale, "skipped_steps": skipped / steps}
