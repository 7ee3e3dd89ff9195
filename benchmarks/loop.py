"""The loop of --job=train with feed, hooks and logs, beside its bare step on one batch in memory.

What trains is what --job=train puts together, taken over where its loop would begin.
"""

from __future__ import annotations

import itertools
import pathlib
import tempfile
from unittest import mock

from benchmarks import photos, rounds, step
from vggtf import config
from vggtf.jobs import train
from vggtf.training import loop as loops

NETS = {"quickstart": (100, 5), "vgg16": (6, 3)}  # steps of a round, rounds
BATCH = 8  # of net D


def measure() -> dict:
  taken = {net: rounds.apart(take_over, net) for net in NETS}
  rows = [
    rounds.compare(f"{net}, the loop", "img/s", found["loop"], "its bare step", found["bare"])
    for net, found in taken.items()
  ]
  return {"rows": rows, "notes": [], "rounds": taken}


def take_over(net: str) -> dict[str, list[rounds.Round]]:
  """Returns rounds of --job=train's loop on pictures, and of its step on one of its batches."""
  with tempfile.TemporaryDirectory() as folder:
    return _take_over(net, pathlib.Path(folder))


def _take_over(net: str, folder: pathlib.Path) -> dict[str, list[rounds.Round]]:
  count, times = NETS[net]
  if net == "quickstart":
    data, params = photos.digits(folder), []
  else:
    data = photos.imagenet(folder)
    params = [f"TrainingFeed.batch_size = {BATCH}", f"train.run.log_every = {count}"]
  taken = {}

  def measure_inside(take, done, until, hooks, batch_size, *rest, **options):
    fixed = step.repeat(next(take.args[0]))
    ends = itertools.count(done + count, count)

    def take_loop():
      end = next(ends)

      def take_some(steps):  # and stops as if asked to, for at its end a run measures and saves
        block = take(min(steps, end - reached[0]))
        reached[0] += block.steps
        return block._replace(stop=reached[0] == end)

      reached = [end - count]
      run(take_some, end - count, until + end, hooks, batch_size, *rest, **options)

    taken.update(
      rounds.take_turns(
        {
          "bare": rounds.contender(lambda: take.func(fixed, count), count * batch_size),
          "loop": rounds.contender(take_loop, count * batch_size),
        },
        times,
      )
    )
    return 10**9, False  # as if all steps had been taken

  run = loops.run
  config.parse([f"gin/{net}.gin"], params, [train.__name__])
  with mock.patch.object(loops, "run", measure_inside):
    config.configured(train.run)(
      workdir=str(folder / f"run_{net}"), data_dir=data, configuration=config
    )
  return taken
