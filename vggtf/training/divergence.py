"""The end of a run whose loss or weights are not finite any more."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.training import checkpoint, restoring


class StopOnNonFinite:
  """Ends the run when the loss, the weights or what the optimizer remembers are NaN or infinite.

  A hook; before SaveCheckpoint, so that no such state is saved. Of variables it takes the sum of
  squares, which is infinite too where an update has made them so large that the next loss would be.

  Args:
    done: steps done before.
    keep: called with the last step that was finite and the one that is not; keeps the state and
      returns what is where.
    parts: whose variables must be finite; the part's names and their own name them.
  """

  every = 0

  def __init__(self, done: int, keep: Callable[[int, int], str], **parts: tf.Module):
    self._finite, self._keep = done, keep
    named = restoring.named_variables(tf.train.Checkpoint(**parts))
    self._variables = {name: one for name, one in named.items() if one.dtype.is_floating}

  def __call__(self, progress: contracts.Progress) -> None:
    for name in ("loss", "weight_decay"):
      if not math.isfinite(progress.scalars[name]):
        self._stop(f"the {name} is {progress.scalars[name]}", progress.step)
    squares = [tf.nn.l2_loss(tf.cast(one, tf.float32)) for one in self._variables.values()]
    if bad := [n for n, s in zip(self._variables, squares, strict=True) if not math.isfinite(s)]:
      more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
      self._stop(f"{', '.join(bad[:3])}{more}: not finite, or too large", progress.step)
    self._finite = progress.step

  def _stop(self, what: str, step: int) -> None:
    raise errors.DivergedError(
      f"{what} by step {step}; {self._keep(self._finite, step)}. Lower the learning rate, or look "
      "at the initialisation"
    )


def keeper(
  checkpoints: checkpoint.Checkpoints,
  state: tf.train.Checkpoint,
  feed: contracts.Feed,
  wait: Callable[[], None],
) -> Callable[[int, int], str]:
  """Returns what keeps a state that diverged and tells where it and the last good one are.

  Which images were in its batches follows from the steps' numbers: they are read once more.

  Args:
    checkpoints: the run's.
    state: what is kept.
    feed: of the training images.
    wait: ends when no checkpoint is being written any more.
  """

  def keep(finite: int, step: int) -> str:
    try:
      wait()
      images = _list_images(feed, finite, step)
      kept = f"that state is in {checkpoints.save_diverged(state, step, images)}, with a list of "
      kept += f"the images since step {finite}"
    except (errors.EnvironmentFault, tf.errors.OpError) as fault:
      kept = f"that state is not kept ({fault})"
    try:
      return f"{kept}; the last good checkpoint is that of step {checkpoints.find('latest')}"
    except (errors.UsageError, errors.IntegrityError):
      return f"{kept}; there is no sound checkpoint"

  return keep


def _list_images(feed: contracts.Feed, finite: int, step: int) -> Iterable[str]:
  batches = enumerate(feed.batches(first_step=finite).take(step - finite), finite + 1)
  for at, batch in batches:
    for name in batch.id.numpy():
      yield f"{at} {name.decode(errors='replace')}"
