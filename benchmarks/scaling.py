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
from collections.abc import Callable

from benchmarks import photos, rounds
from vggtf.reports import scalars

WORKERS = (8, 64, 256)
NETWORKS = (10, 25, 100)  # Gbit/s
OVERLAPS = (0.0, 0.5)  # the share of the sum that runs beside the backward pass


@dataclasses.dataclass(frozen=True)
class Case:
  """How a net is trained.

  batch: images a process. window: steps that are timed as one; of `windows` of them the median
  counts, and one before them does not. data: writes what it learns to a folder, returns the path.
  """

  batch: int
  window: int
  windows: int
  rounds: int
  data: Callable[[pathlib.Path], str]


# Net D with what each of the paper's four GPUs had of a batch is what our floor of 0.9 is for.
# CIFAR-10's net, light in arithmetic for its gradients, shows what is left of it at the other end.
CASES = {
  "cifar10_vgg16": Case(512, 4, 4, 5, photos.digits),
  "vgg16": Case(64, 1, 2, 2, photos.imagenet),
}


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
  rows, notes, taken = [], [], {}
  for net in CASES:
    taken[net], cost, said = _measure(net)
    for who in ("2 workers", "2 workers, bfloat16 sums"):
      ours, what = taken[net][who], f"{net}, {who}"
      rows += [
        rounds.compare(what, "img/s", ours, peer, taken[net][peer])
        for peer in ("twice one's", "2 alone")
      ]
    notes.append(said)
    for gigabits in NETWORKS:
      told = ", ".join(
        f"{workers} workers "
        + " to ".join(f"{cost.efficiency(workers, gigabits * 1e9 / 8, o):.3f}" for o in OVERLAPS)
        for workers in WORKERS
      )
      notes.append(
        f"scaling: {net}, modelled efficiency at {gigabits} Gbit/s, with {OVERLAPS[0]:.0%} to "
        f"{OVERLAPS[-1]:.0%} of the sum hidden: {told}"
      )
  return {"rows": rows, "notes": notes, "rounds": taken}


def _measure(net: str) -> tuple[dict[str, list[rounds.Round]], StepCost, str]:
  """Returns the rounds of each contender, what a step costs, and both in words."""
  case = CASES[net]
  first, second = sorted(os.sched_getaffinity(0))[:2]
  taken = {"twice one's": [], "2 alone": [], "2 workers": [], "2 workers, bfloat16 sums": []}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    data = case.data(folder)
    for number in range(case.rounds):
      at = folder / str(number)
      taken["twice one's"].append(2 * _speed(net, data, [at / "one"], [first]))
      taken["2 alone"].append(_speed(net, data, [at / "left", at / "right"], [first, second]))
      for who, sums in (("2 workers", "float32"), ("2 workers, bfloat16 sums", "bfloat16")):
        places = [at / sums / "0", at / sums / "1"]
        taken[who].append(_speed(net, data, places, [first, second], sums))
    parameters = _parameters(folder / "0" / "one")
  images = 2 * case.batch
  alone, pair = (statistics.median(taken[who]) for who in ("2 alone", "2 workers"))
  cost = StepCost(images / alone, 4 * parameters)
  extra = images / pair - cost.seconds
  said = (
    f"scaling: {net}, {case.batch} images a process; a step computes {cost.seconds:.2f} s and has "
    f"{cost.gradient_bytes / 1e6:.1f} MB of gradients; the pair's sum added {extra:.3f} s"
  )
  if extra > 0:
    said += f", {cost.sent(2) / extra / 1e6:,.0f} MB/s a worker"
  return {who: [_round(speed) for speed in speeds] for who, speeds in taken.items()}, cost, said


def _speed(
  net: str, data: str, folders: list[pathlib.Path], cores: list[int], sums: str | None = None
) -> float:
  """Returns the images a second of a process for each folder, on a core of its own, in all.

  With a type for `sums` they train one net, and add up their gradients in it.
  """
  case = CASES[net]
  overlays = []
  if sums:
    overlays.append("--gin_file=gin/with/multi_worker.gin")
    overlays.append(f"--gin_param=TrainStep.all_reduce_dtype = {sums!r}")
  batch = case.batch * len(folders) if sums else case.batch
  steps = case.window * (case.windows + 1)
  command = [
    *(sys.executable, "-m", "vggtf.main", f"--gin_file=gin/{net}.gin", *overlays),
    f"--gin_param=TrainingFeed.batch_size = {batch}",
    f"--gin_param=train.run.steps = {steps}",
    f"--gin_param=train.run.evaluate_every = {steps + 1}",
    f"--gin_param=train.run.checkpoint_every = {steps + 1}",
    f"--gin_param=train.run.log_every = {case.window}",
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
