"""The checkpoints of a run: which there are, which are sound, which stay.

  checkpoints/step-00000100/    committed.py says what is in it
  checkpoints/diverged-00000117/  the same, and images.txt: a state that is kept to be looked at

tf.train.CheckpointManager would start from step 0 without a word when its state file is damaged,
and never falls back to an older checkpoint; here the newest that verifies is used, and a run whose
checkpoints are all damaged stops.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import tensorflow as tf

from vggtf import errors
from vggtf.training import committed
from vggtf.training.restoring import restore

T = TypeVar("T")

_log = logging.getLogger(__name__)

_CORRUPT, _AHEAD = "corrupt", "ahead"
_DIVERGED = "diverged-"


class Checkpoints:
  """The checkpoints of one run.

  Args:
    folder: where they lie; made when first written to.
    keep: how many of the newest stay; the best one by its validation error stays beside them.
  """

  def __init__(self, folder: Path, keep: int = 3):
    if keep < 1:
      raise errors.UsageError(f"keep = {keep} checkpoints: expected at least 1")
    self._folder, self._keep = folder, keep

  def save(self, state: tf.train.Checkpoint, step: int, error: float | None = None) -> None:
    """Writes the state of `step`; `error` is its validation error, where one was measured.

    Raises:
      EnvironmentFault: there is no room, or no permission; what was saved before stays.
    """
    final = self._path(step)
    if final.exists() and (error is None or self.error(step) is not None):
      return  # a resumed run comes by again, with the same bits
    committed.write(final, state, step, error)
    self._drop_old()

  def save_diverged(self, state: tf.train.Checkpoint, step: int, images: Iterable[str]) -> Path:
    """Writes a state that is not finite where it is never taken for a checkpoint.

    Args:
      state: as for `save`.
      step: what it was reached at.
      images: the lines of its images.txt.

    Returns:
      The folder; the one before it is removed.

    Raises:
      EnvironmentFault: there is no room, or no permission.
    """
    for before in self._folder.glob(f"{_DIVERGED}*"):
      shutil.rmtree(before, ignore_errors=True)
    final = self._folder / f"{_DIVERGED}{step:08d}"
    committed.write(final, state, step, texts={"images.txt": "".join(f"{i}\n" for i in images)})
    return final

  def restore_newest(self, state: tf.train.Checkpoint) -> int | None:
    """Restores the newest sound checkpoint for going on with training.

    Damaged ones are moved to corrupt/, remains of interrupted writes are removed.

    Returns:
      Its step; None where no checkpoint was ever written.

    Raises:
      IntegrityError: there are checkpoints, but none is sound, or it is of another configuration.
    """
    step = next(self._sound(), None)
    if step is not None:
      self.restore(state, step)
    return step

  def sound_steps(self) -> list[int]:
    """Returns the steps of all sound checkpoints in ascending order; sweeps as `restore_newest`.

    Raises:
      IntegrityError: there are checkpoints, but none is sound.
    """
    return sorted(self._sound())

  def restore(self, state: tf.train.Checkpoint, step: int) -> None:
    """Restores the sound checkpoint of `step` for going on with training from there.

    Newer ones are out of the way of those that are saved next: damaged ones in corrupt/, sound ones
    in ahead/.

    Raises:
      IntegrityError: it is of another configuration.
    """
    restore(state, self.prefix(step))
    self.set_aside(step)

  def set_aside(self, after: int) -> None:
    """Moves all checkpoints of later steps out of the way of those that are saved next."""
    for newer in self._steps():
      if newer > after:
        self._set_aside(newer, _CORRUPT if committed.find_problem(self._path(newer)) else _AHEAD)

  def error(self, step: int) -> float | None:
    """Returns the validation error of a checkpoint; None where none was measured."""
    return committed.read_error(self._path(step))

  def _sound(self) -> Iterator[int]:
    """Yields the steps of the sound checkpoints, the newest first; raises where there is none."""
    self._sweep()
    steps, damaged = self._steps(), 0
    for step in reversed(steps):
      problem = committed.find_problem(self._path(step))
      if problem is None:
        yield step
      else:
        _log.warning("checkpoint of step %d is damaged (%s)", step, problem)
        damaged += 1
    if steps and damaged == len(steps):  # they stay, so that the next start is not at step 0
      raise errors.IntegrityError(
        f"every checkpoint in {self._folder} is damaged; restore one from a copy, or start again "
        "in another --workdir"
      )

  def any(self) -> bool:
    """Returns whether there are checkpoints, sound or not."""
    return bool(self._steps())

  def find(self, which: str) -> int:
    """Returns the step of the "latest" sound checkpoint, or of the "best" by validation error.

    Raises:
      UsageError: unknown choice, or nothing was trained yet.
      IntegrityError: all candidates are damaged.
    """
    steps = self._steps()
    if not steps:
      raise errors.UsageError(f"{self._folder} holds no checkpoint; train first")
    if which == "best":
      measured = self._errors(steps)
      steps = sorted(measured, key=lambda step: (-measured[step], step))
      if not steps:
        raise errors.UsageError(f"no checkpoint in {self._folder} was evaluated; use 'latest'")
    elif which != "latest":
      raise errors.UsageError(f"checkpoint = {which!r}: expected 'latest' or 'best'")
    for step in reversed(steps):
      problem = committed.find_problem(self._path(step))
      if problem is None:
        return step
      if not os.path.lexists(self._path(step)):  # a training run has saved newer ones since
        return self.find(which)
      _log.warning("checkpoint of step %d is damaged (%s): passed over", step, problem)
    raise errors.IntegrityError(f"every checkpoint in {self._folder} is damaged")

  def read(self, which: str, read: Callable[[str], T]) -> tuple[T, int]:
    """Reads the checkpoint that `find` names, even beside a training run, which removes old ones.

    Args:
      which: "latest" or "best".
      read: called with the checkpoint's prefix; once more, with that of the next one found, where
        the first was removed under its hands.

    Returns:
      What `read` returns, and the checkpoint's step.

    Raises:
      UsageError: as `find`.
      IntegrityError: as `find`.
    """
    while True:
      step = self.find(which)
      try:
        return read(self.prefix(step)), step
      except (errors.IntegrityError, tf.errors.OpError, OSError):
        if os.path.lexists(self._path(step)):
          raise
        _log.info("the checkpoint of step %d was removed by the training run: once more", step)

  def prefix(self, step: int) -> str:
    """Returns what tf.train.Checkpoint.read takes."""
    return committed.prefix(self._path(step))

  def _path(self, step: int) -> Path:
    return self._folder / f"step-{step:08d}"

  def _steps(self) -> list[int]:
    numbers = [path.name.removeprefix("step-") for path in self._folder.glob("step-*")]
    return sorted(int(number) for number in numbers if number.isdecimal())

  def _errors(self, steps: Iterable[int]) -> dict[int, float]:
    """Returns the validation errors of those steps that have one."""
    found = {step: self.error(step) for step in steps}
    return {step: error for step, error in found.items() if error is not None}

  def _sweep(self) -> None:
    """Removes what interrupted writes and removals left; nobody else writes in a claimed folder.

    A checkpoint that was whole and about to be replaced comes back.
    """
    for path in self._folder.glob(f"{committed.REPLACED}*"):
      final = self._folder / path.name.removeprefix(committed.REPLACED)
      if not final.exists() and committed.find_problem(path) is None:
        os.rename(path, final)
    remains = [
      p for start in (committed.ASIDE, committed.REPLACED) for p in self._folder.glob(f"{start}*")
    ]
    freed = sum(f.stat().st_size for at in remains for f in at.rglob("*") if f.is_file())
    for path in remains:
      shutil.rmtree(path)
    if remains:
      names = ", ".join(sorted(path.name for path in remains))
      _log.warning("removed what a killed run left, %s: %s bytes freed", names, f"{freed:,}")

  def _set_aside(self, step: int, folder: str) -> None:
    """Moves a checkpoint to a folder beside, for whoever wants to look."""
    name = self._path(step).name
    kept = self._folder / folder / f"{name}-{time.time_ns()}"
    kept.parent.mkdir(exist_ok=True)
    os.rename(self._path(step), kept)
    _log.warning("moved %s out of the way, to %s", name, kept)

  def _drop_old(self) -> None:
    steps = self._steps()
    measured = self._errors(steps)
    best = min(measured, key=lambda step: (measured[step], step), default=None)
    for step in steps[: -self._keep]:
      if step != best:
        dropped = self._folder / f"{committed.REPLACED}{self._path(step).name}"
        os.rename(self._path(step), dropped)  # at once, for whoever reads beside
        shutil.rmtree(dropped)
