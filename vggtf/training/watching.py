"""What is shown of a run: lines, curves, images, weights, a profile; that it waits for images."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.training import hooks

_log = logging.getLogger(__name__)


class Watch:
  """What the console and TensorBoard show of a run.

  Args:
    board: TensorBoard's.
    net: whose weights are looked at.
    feed: whose images are shown.
    images: how many training images are shown at a time, as the net is given them: after crop, flip
      and colour shift, before the mean is subtracted; 0 for none.
    images_every: steps between such looks; the first is before the first step.
    weights_every: steps between looks at the length of each variable, and at how much of it one
      update changes; 0 for none. Each takes a copy of the weights for a step.

  Raises:
    UsageError: a number that is none.
  """

  def __init__(
    self,
    board: hooks.TensorBoard,
    net: contracts.Model,
    feed: contracts.Feed,
    images: int = 8,
    images_every: int = 5000,
    weights_every: int = 0,
  ):
    for name, count, least in (
      ("images", images, 0),
      ("images_every", images_every, 1),
      ("weights_every", weights_every, 0),
    ):
      if count < least:
        raise errors.UsageError(f"watching.Watch.{name} = {count}: expected {least} or more")
    self._board, self._net, self._feed = board, net, feed
    self._images, self._images_every, self._weights_every = images, images_every, weights_every

  def hooks(
    self, every: int, done: int, until: int, profile_steps: str | None
  ) -> list[contracts.Hook]:
    """Returns what the loop calls.

    Args:
      every: steps between lines on the console and points in TensorBoard.
      done: steps done before.
      until: the run's last step.
      profile_steps: those that are recorded; see `Profile`.
    """
    found = [
      hooks.WarnStuck(self._net.classes),
      WarnStarved(every),
      hooks.Console(every, done, until),
      self._board,
    ]
    if self._images:
      found.append(_Images(self, self._feed, self._images_every))
    if self._weights_every:
      found.append(_Weights(self._board, self._net.trainable_variables, self._weights_every))
    if profile_steps:
      found.append(Profile(self._board.folder, profile_steps, done, until))
    return found

  def show(self, batch: contracts.Batch, step: int) -> None:
    """Shows the first images of the batch that comes after step `step`."""
    if self._images:
      self._board.images("input", batch.image[: self._images], step)


class _Images:
  def __init__(self, watch: Watch, feed: contracts.Feed, every: int):
    self.every = every
    self._watch, self._feed = watch, feed

  def __call__(self, progress: contracts.Progress) -> None:
    if progress.step % self.every:  # the end of the run
      return
    # Which images a step takes follows from its number: they are read once more.
    for batch in self._feed.batches(progress.step).take(1):
      self._watch.show(batch, progress.step)


class _Weights:
  """Looks before and after one step."""

  def __init__(self, board: hooks.TensorBoard, variables: Sequence[tf.Variable], every: int):
    self._board, self._variables, self._every = board, variables, every
    self._before: list[tf.Tensor] | None = None

  @property
  def every(self) -> int:
    return self._every if self._before is None else 1

  def __call__(self, progress: contracts.Progress) -> None:
    if progress.step % self.every:  # the end of the run
      return
    if self._before is None:
      self._before = [tf.identity(variable) for variable in self._variables]
      return
    found = {}
    for variable, before in zip(self._variables, self._before, strict=True):
      name, length = variable.name.removesuffix(":0"), float(tf.norm(before))
      found[f"weight_norm/{name}"] = float(tf.norm(variable))
      if length > 0:  # biases begin as zeros
        found[f"update_ratio/{name}"] = float(tf.norm(variable - before)) / length
    self._board.scalars(found, progress.step)
    self._before = None


class WarnStarved:
  """Warns once when steps wait for images for more than a tenth of their time.

  Args:
    every: steps that are looked at together; the first so many, which wait for the input to start,
      are not.
  """

  def __init__(self, every: int):
    self.every = every
    self._calls, self._warned = 0, False

  def __call__(self, progress: contracts.Progress) -> None:
    self._calls += 1
    if self._calls > 1 and progress.data_wait > 0.1 and not self._warned:
      self._warned = True
      _log.warning(
        "the steps before step %d waited for images for %.0f %% of their time: the input is the "
        "bottleneck. --job=input_benchmark says what takes how long; a stored scale at or near the "
        "one that is trained at, more cores or a local disk help",
        progress.step,
        100 * progress.data_wait,
      )


class Profile:
  """Records what TensorFlow does in some steps, for TensorBoard's profiler.

  Args:
    folder: of TensorBoard's files.
    steps: "100:110" for those after step 100, up to and with step 110.
    done: steps done before.
    until: the run's last step.

  Raises:
    UsageError: there are no such steps.
  """

  def __init__(self, folder: Path, steps: str, done: int, until: int):
    found = re.fullmatch(r"(\d+):(\d+)", steps)
    self._first, self._last = map(int, found.groups()) if found else (0, 0)
    if not done + 1 <= self._first < self._last <= until:
      raise errors.UsageError(
        f"--profile_steps={steps}: expected A:B, from {done + 1} to {until}; the first "
        "step compiles"
      )
    self._folder = folder
    self.every = self._first

  def __call__(self, progress: contracts.Progress) -> None:
    if progress.step == self._first:
      tf.profiler.experimental.start(str(self._folder))
      self.every = self._last
    elif progress.step == self._last:
      tf.profiler.experimental.stop()
      _log.info("steps %d to %d are profiled in %s", self._first + 1, self._last, self._folder)
      self.every = sys.maxsize
