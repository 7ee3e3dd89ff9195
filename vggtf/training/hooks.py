"""What happens between blocks of steps. Any callable with an `every` is a hook."""

from __future__ import annotations

import atexit
import contextlib
import datetime
import logging
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import rich.progress
import tensorflow as tf

from vggtf import contracts, errors, metrics

_log = logging.getLogger(__name__)


class StopOnNonFinite:
  """Ends the run when the loss is NaN or infinite.

  The weight decay, of the weights after the last update, tells of an update that would spoil the
  next loss, before those weights are saved.

  Args:
    done: steps done before.
    keep: called with the last step that was finite and the one that is not; keeps the state and
      returns what is where.
  """

  every = 0

  def __init__(self, done: int, keep: Callable[[int, int], str]):
    self._finite, self._keep = done, keep

  def __call__(self, progress: contracts.Progress) -> None:
    for name in ("loss", "weight_decay"):
      if not math.isfinite(progress.scalars[name]):
        raise errors.DivergedError(
          f"the {name} is {progress.scalars[name]} by step {progress.step}; "
          f"{self._keep(self._finite, progress.step)}. Lower the learning rate, or look at the "
          "initialisation"
        )
    self._finite = progress.step


class WarnStuck:
  """Warns once when the loss stays at ln(classes), that of a net which has learnt nothing.

  Deep VGG nets do, from small gaussian weights: the paper's reason for staged initialisation
  (section 3.1).
  """

  def __init__(self, classes: int, after: int = 1000):
    self.every = after
    self._chance = math.log(classes)
    self._warned = False

  def __call__(self, progress: contracts.Progress) -> None:
    stuck = abs(progress.scalars["loss"] - self._chance) < 0.01 * self._chance
    if stuck and progress.step >= self.every and not self._warned:
      self._warned = True
      _log.warning(
        "the loss is still ln(classes) = %.3f after %d steps: the net has learnt nothing. Use "
        "Glorot or He initialisation, or batch norm, or a shallower net",
        self._chance,
        progress.step,
      )


class Console:
  """Shows how the run goes: a live bar on a terminal, plain lines elsewhere, with rate and ETA."""

  def __init__(self, every: int, done: int, until: int):
    self.every = every
    self._until = until
    self._last = done
    self._bar = None
    if sys.stderr.isatty():
      self._bar = rich.progress.Progress(
        rich.progress.TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
        rich.progress.BarColumn(),
        rich.progress.TextColumn("{task.description}"),
        rich.progress.TimeRemainingColumn(),
        console=rich.console.Console(stderr=True),
      )
      self._task = self._bar.add_task("", total=until, completed=done)
      self._bar.start()
      atexit.register(self._bar.stop)  # however the run ends, the cursor comes back

  def __call__(self, progress: contracts.Progress) -> None:
    rate = progress.images / progress.seconds
    per_step = progress.seconds / max(progress.step - self._last, 1)
    self._last = progress.step
    remaining = datetime.timedelta(seconds=int((self._until - progress.step) * per_step))
    scalars = progress.scalars
    text = (
      f"loss {scalars['loss']:.4f}, top-1 error {scalars['top1_error']:.1%}, "
      f"rate {scalars['learning_rate']:.2g}, {rate:,.0f} img/s"
    )
    if self._bar:
      self._bar.update(self._task, completed=progress.step, description=text)
      if progress.step == self._until:
        self._bar.stop()
    else:
      _log.info("step %d of %d: %s, ETA %s", progress.step, self._until, text, remaining)


class TensorBoard:
  """Writes every scalar, and images a second, for TensorBoard.

  Curves are no reason to end a run: where they cannot be written, it warns once.
  """

  def __init__(self, folder: Path, every: int):
    self.every = every
    self._folder = folder
    self._writer = tf.summary.create_file_writer(str(folder))
    self._warned = False

  def __call__(self, progress: contracts.Progress) -> None:
    speed = {"images_per_second": progress.images / progress.seconds}
    self.scalars(progress.scalars | speed, progress.step)

  def scalars(self, scalars: dict[str, float], step: int) -> None:
    """Writes one point of each curve."""
    with self._writing(step):
      for name, value in scalars.items():
        tf.summary.scalar(name, value)

  def text(self, tag: str, text: str, step: int) -> None:
    """Shows a text, such as the configuration, as it is."""
    with self._writing(step):
      tf.summary.text(tag, "\n".join(f"    {line}" for line in text.splitlines()))

  @contextlib.contextmanager
  def _writing(self, step: int) -> Iterator[None]:
    try:
      with self._writer.as_default(step=step):
        yield
      self._writer.flush()
    except tf.errors.OpError as error:
      if not self._warned:
        self._warned = True
        _, _, reason = error.message.partition("\n")[0].rpartition("}} ")  # without graph nodes
        _log.warning(
          "curves cannot be written to %s (%s): the run goes on without them", self._folder, reason
        )


class Evaluate:
  """Measures the validation error and tells whoever wants to know.

  Args:
    every: steps.
    evaluate: measures; returns metric name -> mean.
    tell: called with the step and the measurements.
    observe: called with the top-1 error; a plateau schedule's.
  """

  def __init__(
    self,
    every: int,
    evaluate: Callable[[], dict[str, metrics.Mean]],
    tell: Callable[[int, dict[str, metrics.Mean]], None],
    observe: contracts.Observe | None,
  ):
    self.every = every
    self.error: tuple[int, float] | None = None  # the step last measured, and its error
    self._evaluate, self._tell, self._observe = evaluate, tell, observe

  def __call__(self, progress: contracts.Progress) -> None:
    measured = self._evaluate()
    error = measured["top1_error"].value
    self.error = (progress.step, error)
    self._tell(progress.step, measured)
    if self._observe:
      self._observe(error)


class SaveCheckpoint:
  """Saves; must come after Evaluate, whose plateau state it then holds.

  Where that cannot be, it warns, keeps what was saved before and tries again when it is next due.
  The third time in a row, and at the end, the run stops.

  Args:
    every: steps.
    until: the run's last step.
    save: called with the step and, where it was just measured, the validation error.
    evaluate: the hook that measures.
  """

  def __init__(
    self,
    every: int,
    until: int,
    save: Callable[[int, float | None], None],
    evaluate: Evaluate | None,
  ):
    self.every = every
    self._until, self._save, self._evaluate = until, save, evaluate
    self._failures = 0

  def __call__(self, progress: contracts.Progress) -> None:
    step, error = (self._evaluate and self._evaluate.error) or (None, None)
    try:
      self._save(progress.step, error if step == progress.step else None)
    except errors.EnvironmentFault as fault:
      self._failures += 1
      if self._failures == 3 or progress.step == self._until:
        raise
      _log.warning("training goes on, and tries again in %d steps: %s", self.every, fault)
    else:
      self._failures = 0
