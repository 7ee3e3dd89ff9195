"""Two worker processes on a core each, beside one process on one core; and what more would do.

All run the product's command on the same net, with as many images a process. The pair sums its
gradients over the loopback device; two single processes side by side, which sum nothing, show what
sharing the machine costs by itself. From these points a model of a step's cost tells what 8, 64 and
256 workers reach on networks of several speeds.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile

from benchmarks import photos, rounds
from vggtf.reports import scalars

NET = "cifar10_vgg16"
BATCH = 512  # images a process
WINDOW, WINDOWS = 4, 4  # steps of a window; the first window does not count
ROUNDS = 3
WORKERS = (8, 64, 256)
NETWORKS = (10, 25, 100)  # Gbit/s
OVERLAPS = (0.0, 0.5)  # the share of the sum that runs beside the backward pass


@dataclasses.dataclass(frozen=True)
class StepCost:
  """What a step costs: computing, and what is not hidden of a ring's sum of all gradients.

  seconds: a step without a sum. gradient_bytes: of all gradients.
  """

  seconds: float
  gradient_bytes: int

  def sent(self, workers: int) -> float:
    """Returns the bytes that each worker of a ring sends in a step."""
    return 2 * (workers - 1) / workers * self.gradient_bytes

  def efficiency(self, workers: int, bytes_a_second: float, overlap: float = 0.0) -> float:
    """Returns the speed of so many workers as a share of as many times that of one."""
    exposed = (1 - overlap) * self.sent(workers) / bytes_a_second
    return self.seconds / (self.seconds + exposed)


def measure() -> dict:
  first, second = sorted(os.sched_getaffinity(0))[:2]
  taken = {"one": [], "side by side": [], "pair": [], "pair, bfloat16 sums": []}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    data = photos.digits(folder)
    for number in range(ROUNDS):
      at = folder / str(number)
      taken["one"].append(_speed(data, [at / "one"], [first]))
      taken["side by side"].append(_speed(data, [at / "left", at / "right"], [first, second]))
      for sums in ("float32", "bfloat16"):
        places = [at / sums / "0", at / sums / "1"]
        speed = _speed(data, places, [first, second], sums)
        taken["pair" if sums == "float32" else "pair, bfloat16 sums"].append(speed)
    parameters = _parameters(folder / "0" / "one")
  found = {who: [_round(speed) for speed in speeds] for who, speeds in taken.items()}
  rows = []
  for who, what in (("pair", "2 workers"), ("pair, bfloat16 sums", "2 workers, bfloat16 sums")):
    rows += [
      rounds.compare(what, "img/s", found[who], "twice one's", found["one"], weight=0.5),
      rounds.compare(what, "img/s", found[who], "2 alone", found["side by side"]),
    ]
  alone, pair = (statistics.median(taken[who]) for who in ("side by side", "pair"))
  cost = StepCost(2 * BATCH / alone, 4 * parameters)
  extra = 2 * BATCH / pair - cost.seconds
  notes = [
    f"scaling: {NET}, {BATCH} images a process; a step computes {cost.seconds:.2f} s and has "
    f"{cost.gradient_bytes / 1e6:.1f} MB of gradients; the pair's sum added {extra:.3f} s, "
    f"{cost.sent(2) / max(extra, 1e-9) / 1e6:,.0f} MB/s a worker"
  ]
  for gigabits in NETWORKS:
    told = ", ".join(
      f"{workers} workers "
      + " to ".join(f"{cost.efficiency(workers, gigabits * 1e9 / 8, o):.3f}" for o in OVERLAPS)
      for workers in WORKERS
    )
    notes.append(
      f"scaling: modelled efficiency at {gigabits} Gbit/s, with {OVERLAPS[0]:.0%} to "
      f"{OVERLAPS[-1]:.0%} of the sum hidden: {told}"
    )
  return {"rows": rows, "notes": notes, "rounds": {NET: found}}


def _speed(
  data: str, folders: list[pathlib.Path], cores: list[int], sums: str | None = None
) -> float:
  """Returns the images a second of a process for each folder, on a core of its own, in all.

  With a type for `sums` they train one net, and add up their gradients in it.
  """
  overlays = []
  if sums:
    overlays.append("--gin_file=gin/with/multi_worker.gin")
    overlays.append(f"--gin_param=TrainStep.all_reduce_dtype = {sums!r}")
  batch = BATCH * len(folders) if sums else BATCH
  steps = WINDOW * (WINDOWS + 1)
  command = [
    *(sys.executable, "-m", "vggtf.main", f"--gin_file=gin/{NET}.gin", *overlays),
    f"--gin_param=TrainingFeed.batch_size = {batch}",
    f"--gin_param=train.run.steps = {steps}",
    f"--gin_param=train.run.evaluate_every = {steps + 1}",
    f"--gin_param=train.run.checkpoint_every = {steps + 1}",
    f"--gin_param=train.run.log_every = {WINDOW}",
    "--gin_param=train.run.report_magnitudes = False",
    f"--data_dir={data}",
  ]
  with tempfile.TemporaryFile("w+") as log:
    processes = [
      subprocess.Popen(
        ["taskset", "--cpu-list", str(core), *command, f"--workdir={folder}"],
        cwd=photos.ROOT,
        env={**os.environ, **settings},
        stdout=log,
        stderr=log,
      )
      for folder, core, settings in zip(
        folders, cores, _settings(len(folders), sums is not None), strict=True
      )
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
      log.seek(0)
      raise RuntimeError(f"{' '.join(command)} failed\n{log.read()}")
  speeds = [_logged_speed(folder) for folder in folders]
  return statistics.mean(speeds) if sums else math.fsum(speeds)


def _settings(count: int, together: bool) -> list[dict[str, str]]:
  """Returns what to add to each process's environment."""
  if not together:
    return [{}] * count
  servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
  addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
  for server in servers:
    server.close()
  return [
    {
      "TF_CONFIG": json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
      )
    }
    for index in range(count)
  ]


def _logged_speed(folder: pathlib.Path) -> float:
  """Returns the median speed of the windows that a run logged, without the first."""
  points = scalars.read(folder / "logs" / "train")["images_per_second"]
  return statistics.median(speed for _, speed in points[1:])


def _parameters(run: pathlib.Path) -> int:
  """Returns how many numbers a run's net has that are trained: each has a velocity."""
  import tensorflow as tf

  (state,) = (run / "checkpoints").glob("step-*/state.index")
  return sum(
    math.prod(shape)
    for name, shape in tf.train.list_variables(str(state.with_suffix("")))
    if name.startswith("optimizer/velocities/")
  )


def _round(speed: float) -> rounds.Round:
  """Returns a second at this speed; what it took on the cores was not measured."""
  return rounds.Round(speed, 1.0, math.nan, math.nan, 0)
