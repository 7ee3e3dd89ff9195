"""What the training waits for when net D is saved: a copy of its state, and not the disk.

The copy shares the variables' memory until the next update, which then writes elsewhere, so what
that update takes longer belongs to the wait.
"""

from __future__ import annotations

import pathlib
import shutil
import statistics
import tempfile

import tensorflow as tf

from benchmarks import rounds
from vggtf import contracts
from vggtf.models import vgg
from vggtf.optimizers import sgd
from vggtf.training import checkpoint, divergence, snapshot

ROUNDS = 5
MEGABYTE = 1e6
WHOLE, COPY, LOOK = "whole save", "copy", "look for what is not finite"
UPDATE, HELD = "update", "update of all weights, with a copy held"


def measure() -> dict:
  """Returns rows, notes and rounds; see run.py."""
  with tempfile.TemporaryDirectory() as folder:
    return _measure(pathlib.Path(folder))


def _measure(folder: pathlib.Path) -> dict:
  net, optimizer = vgg.VGG(1000, (120.0, 115.0, 100.0), config="D"), sgd.SGD()
  optimizer.build(net.trainable_variables)
  state = tf.train.Checkpoint(model=net, optimizer=optimizer)
  size = sum(one.shape.num_elements() * 4 for one in (*net.variables, *optimizer.variables))
  gradients = [tf.zeros(one.shape) for one in net.trainable_variables]
  update = tf.function(lambda: optimizer.apply(gradients, tf.constant(1e-3)))
  checkpoints = checkpoint.Checkpoints(folder)
  stop = divergence.StopOnNonFinite(0, lambda *_: "", model=net, optimizer=optimizer)
  progress = contracts.Progress(1, {"loss": 1.0, "weight_decay": 1.0}, 1, 1.0)
  held = []

  def hold() -> float:
    held.append(snapshot.take(state))
    return 1.0

  def once(do) -> float:
    do()
    return 1.0

  update()  # traces
  memory = _measure_memory(hold, update)  # now: what the rounds free is not all given back
  held.clear()
  taken = rounds.take_turns(
    {
      WHOLE: rounds.Contender(
        lambda: once(lambda: checkpoints.save(state, 1)),
        finish=lambda: shutil.rmtree(folder / "step-00000001"),
      ),
      COPY: rounds.Contender(hold, finish=held.clear),
      UPDATE: rounds.Contender(lambda: once(update)),
      HELD: rounds.Contender(lambda: once(update), hold, held.clear),
      LOOK: rounds.Contender(lambda: once(lambda: stop(progress))),
    },
    ROUNDS,
  )
  return {
    "rows": [
      rounds.compare(
        f"save of net D and its momentum: {name}", "1/s", taken[name], "the whole", taken[WHOLE]
      )
      for name in (COPY, LOOK)
    ]
    + [rounds.compare(HELD, "1/s", taken[HELD], "without", taken[UPDATE])],
    "notes": [
      f"the state is {size / MEGABYTE:,.0f} MB; of the time of a save, training waits for "
      f"{_share(taken, 'seconds'):.1%} by the clock and {_share(taken, 'cpu_seconds'):.1%} of its "
      "CPU time: the copy, and what the next update takes longer",
      f"memory: {memory[0] / MEGABYTE:,.0f} MB more with the copy, {memory[1] / MEGABYTE:,.0f} MB "
      "once an update has written elsewhere",
    ],
    "rounds": {"checkpoint": taken},
  }


def _share(taken: dict[str, list[rounds.Round]], kind: str) -> float:
  """Returns what the training waits for, as a part of a save, in medians of "seconds" or such."""
  time = {
    name: statistics.median(getattr(one, kind) for one in found) for name, found in taken.items()
  }
  return (time[COPY] + max(0.0, time[HELD] - time[UPDATE])) / time[WHOLE]


def _measure_memory(hold, update) -> tuple[float, float]:
  """Returns how many bytes more the process has after a copy, and after an update since."""
  start = _resident()
  hold()
  copied = _resident()
  update()
  return copied - start, _resident() - start


def _resident() -> int:
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  return pages * 4096
