"""Checkpoints written beside the training, which waits for a copy of the state alone."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.training import hooks, snapshot

_log = logging.getLogger(__name__)

ATTEMPTS = 3


class SaveCheckpoint:
  """Saves in a thread of its own, one checkpoint at a time; the last one is waited for.

  A hook; must come after Evaluate, whose plateau state it then holds. A context manager: what the
  thread is at when the run ends, however it does, is written to its end.

  Where a checkpoint cannot be written, it warns, keeps what was saved before and tries again when
  the next is due. After some attempts in a row, and at the end, the run stops.

  Args:
    every: steps.
    until: the run's last step.
    state: what to save.
    save: called with a copy of it, the step and, where it was just measured, the validation error.
    evaluate: the hook that measures.
    attempts: how many in a row may fail; the last of them ends the run.
  """

  def __init__(
    self,
    every: int,
    until: int,
    state: tf.train.Checkpoint,
    save: Callable[[tf.train.Checkpoint, int, float | None], None],
    evaluate: hooks.Evaluate | None = None,
    attempts: int = ATTEMPTS,
  ):
    self.every = every
    self._until, self._state, self._save, self._evaluate = until, state, save, evaluate
    self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
    self._written: concurrent.futures.Future | None = None
    self._attempts, self._failures = attempts, 0

  def __enter__(self) -> SaveCheckpoint:
    return self

  def __exit__(self, kind, *_) -> None:
    self._thread.shutdown()
    if kind is None:
      self.wait()

  def __call__(self, progress: contracts.Progress) -> None:
    step, error = (self._evaluate and self._evaluate.error) or (None, None)
    error = error if step == progress.step else None
    self._begin(progress.step, error, last=progress.step == self._until)

  def finish(self, step: int) -> None:
    """Saves the state that a run stops with before its end.

    Raises:
      EnvironmentFault: it cannot be written.
    """
    self._begin(step, None, last=True)

  def wait(self) -> None:
    """Waits for what the thread is at.

    Raises:
      EnvironmentFault: it cannot be written, and it was the run's last or the last attempt.
    """
    if self._written:
      self._written.result()

  def _begin(self, step: int, error: float | None, last: bool) -> None:
    self.wait()
    copy = snapshot.take(self._state)
    self._written = self._thread.submit(self._write, copy, step, error, last)
    del copy  # the thread's alone: it goes when that is done
    if last:
      self.wait()

  def _write(self, copy: tf.train.Checkpoint, step: int, error: float | None, last: bool) -> None:
    try:
      self._save(copy, step, error)
    except errors.EnvironmentFault as fault:
      self._failures += 1
      if last or self._failures == self._attempts:
        raise
      _log.warning("training goes on, and tries again in %d steps: %s", self.every, fault)
    else:
      self._failures = 0
