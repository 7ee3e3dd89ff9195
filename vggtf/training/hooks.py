"""What happens between blocks of steps. Any callable with an `every` is a hook."""

from __future__ import annotations

import atexit
import datetime
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path

import rich.progress
import tensorflow as tf

from vggtf import contracts, errors, metrics

_log = logging.getLogger(__name__)


# Of an evaluation, that training outlives; not of a bug, nor of weights that are not finite.
_FAILURES = (
  errors.IntegrityError,
  errors.EnvironmentFault,
  tf.errors.ResourceExhaustedError,
  OSError,
)


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
    classifies = "top1_error" in progress.scalars
    stuck = classifies and abs(progress.scalars["loss"] - self._chance) < 0.01 * self._chance
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
        rich.progress.TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        rich.progress.BarColumn(bar_width=5),  # all shall fit into 80 columns
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
    scalars, wait = progress.scalars, f"wait {progress.data_wait:.0%}"
    name = min(name for name in scalars if name.endswith("_error"))  # top-1, not top-5
    loss, error = f"loss {scalars['loss']:.4f}", f"{scalars[name]:.1%}"
    if self._bar:
      text = f"{loss}, error {error}, {rate:,.0f} img/s, {wait}"
      self._bar.update(self._task, completed=progress.step, description=text)
      if progress.step == self._until:
        self._bar.stop()
    else:
      name = name.replace("top", "top-").replace("_", " ")
      text = f"{loss}, {name} {error}, rate {scalars['learning_rate']:.2g}"
      text = f"{text}, {rate:,.0f} img/s, data {wait}"
      _log.info("step %d of %d: %s, ETA %s", progress.step, self._until, text, remaining)


class TensorBoard:
  """Writes every scalar, images a second and the share of time that they were waited for.

  Curves are no reason to end a run: where they cannot be written, it warns once.
  """

  def __init__(self, folder: Path, every: int):
    self.every = every
    self.folder = folder
    self._writer = None
    self._warned = False

  def __call__(self, progress: contracts.Progress) -> None:
    speed = {"images_per_second": progress.images / progress.seconds}
    waiting = {"data_wait": progress.data_wait}
    self.scalars(progress.scalars | speed | waiting, progress.step)

  def scalars(self, scalars: dict[str, float], step: int) -> None:
    """Writes one point of each curve."""

    def write() -> None:
      for name, value in scalars.items():
        tf.summary.scalar(name, value)

    self._write(write, step)

  def text(self, tag: str, text: str, step: int) -> None:
    """Shows a text, such as the configuration, as it is."""
    code = "\n".join(f"    {line}" for line in text.splitlines())
    self._write(lambda: tf.summary.text(tag, code), step)

  def images(self, tag: str, images: tf.Tensor, step: int) -> None:
    """Shows uint8 [N, H, W, 3]."""
    self._write(lambda: tf.summary.image(tag, images, max_outputs=len(images)), step)

  def _write(self, write: Callable[[], None], step: int) -> None:
    try:
      if self._writer is None:
        self._writer = tf.summary.create_file_writer(str(self.folder))
      with self._writer.as_default(step=step):
        write()
      self._writer.flush()
    except tf.errors.OpError as error:
      if not self._warned:
        self._warned = True
        _, _, reason = error.message.partition("\n")[0].rpartition("}} ")  # without graph nodes
        _log.warning(
          "curves cannot be written to %s (%s): the run goes on without them", self.folder, reason
        )


class Evaluate:
  """Measures the validation error and tells whoever wants to know.

  Where that cannot be, training goes on, and the run ends with the error; at once where a schedule
  wants to know.

  Args:
    every: steps.
    evaluate: measures; returns metric name -> mean.
    tell: called with the step and the measurements.
    observe: called with the first of the measurements; a plateau schedule's.
    heard: the step whose measurement it was called with already.
  """

  def __init__(
    self,
    every: int,
    evaluate: Callable[[], dict[str, metrics.Mean]],
    tell: Callable[[int, dict[str, metrics.Mean]], None],
    observe: contracts.Observe | None,
    heard: int | None = None,
  ):
    self.every = every
    self.error: tuple[int, float] | None = None  # the step last measured, and its error
    self._evaluate, self._tell = evaluate, tell
    self._observe, self._heard = observe, heard
    self._failures: dict[int, Exception] = {}

  def __call__(self, progress: contracts.Progress) -> None:
    try:
      measured = self._evaluate()
    except _FAILURES as failure:
      if self._observe:
        raise
      self._note(progress.step, failure)
      return
    error = next(iter(measured.values())).value
    self.error = (progress.step, error)
    if self._observe and progress.step != self._heard:
      self._observe(error)
    try:
      self._tell(progress.step, measured)
    except errors.EnvironmentFault as failure:
      self._note(progress.step, failure)

  def raise_failures(self) -> None:
    """Raises the first failure, with the steps that have no measurement; for a run's end."""
    if not self._failures:
      return
    first = next(iter(self._failures.values()))
    kind = type(first) if isinstance(first, errors.VggtfError) else errors.EnvironmentFault
    steps = ", ".join(map(str, self._failures))
    raise kind(
      f"the run is trained to its end, but there are no measurements of the steps {steps}: {first}"
    ) from first

  def _note(self, step: int, failure: Exception) -> None:
    self._failures[step] = failure
    _log.warning("no measurement of step %d, training goes on: %s", step, failure)
