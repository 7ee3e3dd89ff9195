"""A worker of a cluster, started as `python -m tests.jobs.cluster_worker OPTIONS`, OPTIONS in JSON.

It trains 12 steps of 8 of the 48 painted images: two epochs. Each step is a line on stderr.
"""

import functools
import json
import logging
import os
import pathlib
import signal
import sys
import time

import tensorflow as tf

from tests.jobs import runs
from vggtf import errors
from vggtf.data import pipeline
from vggtf.evaluators import classification
from vggtf.training import committed, stopping, strategy

STEPS = 12


def train(
  workdir: str,
  data_dir: str,
  text: str = "a = 1\n",
  silence: float = 6.0,
  die_in_save: int | None = None,
  stop_in: str | None = None,
  wait_at: int | None = None,
  step_deadline: float | None = None,
) -> None:
  """Trains; logs which images it was given.

  Args:
    workdir: of this worker.
    data_dir: a data set.
    text: the configuration's.
    silence: seconds.
    die_in_save: the step whose checkpoint is killed before it takes its name.
    stop_in: what sends this process SIGTERM: "evaluation" or "save" of step 4, or the "beginning".
    wait_at: a step whose images never come, after the line "waits".
    step_deadline: seconds.
  """

  class Feed(pipeline.TrainingFeed):
    def batches(self, first_step, worker=0, workers=1):  # one alone is no training
      def note(step, ids):
        with open(pathlib.Path(workdir) / "images.txt", "a") as file:
          file.write(f"{step + 1} {' '.join(sorted(one.decode() for one in ids))}\n")
        if step + 1 == wait_at:
          print("waits", file=sys.stderr, flush=True)
          time.sleep(600)
        return step

      def noted(step, batch):
        step = tf.numpy_function(note, [step, batch.id], tf.int64)
        with tf.control_dependencies([step]):
          return tf.nest.map_structure(tf.identity, batch)

      batches = super().batches(first_step, worker, workers)
      return batches.enumerate(first_step).map(noted) if workers > 1 else batches

  class Evaluator(classification.Classification):
    measured = 0

    def __call__(self, **share):
      self.measured += 1
      if stop_in == "evaluation" and self.measured == 2:
        os.kill(os.getpid(), signal.SIGTERM)
      return super().__call__(**share)

  rename = os.rename

  def renamed(source, target):
    if die_in_save and str(target).endswith(f"step-{die_in_save:08d}"):
      os.kill(os.getpid(), signal.SIGKILL)
    if stop_in == "save" and str(target).endswith("step-00000004"):
      os.kill(os.getpid(), signal.SIGTERM)
    rename(source, target)

  committed.os.rename = renamed
  if stop_in == "beginning":
    enter = stopping.StopRequest.__enter__

    def entered(self):
      enter(self)
      os.kill(os.getpid(), signal.SIGTERM)
      return self

    stopping.StopRequest.__enter__ = entered
  pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
  runs.run(
    workdir,
    data_dir,
    text,
    steps=STEPS,
    checkpoint_every=2,
    log_every=1,
    step_deadline=step_deadline,
    feed=functools.partial(Feed, **runs.FEED.keywords),
    evaluator=functools.partial(Evaluator, **runs.VALIDATOR.keywords),
    strategy=functools.partial(strategy.multi_worker, 120.0, silence),
  )


if __name__ == "__main__":
  logging.basicConfig(level=logging.INFO, format="%(message)s")
  code = errors.run_command(lambda: train(**json.loads(sys.argv[1])))
  sys.stderr.flush()
  os._exit(code)  # as vggtf/main.py does
