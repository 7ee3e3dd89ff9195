"""What a step of net D takes of memory, by batch and option, and of time beside the plain step.

Each is a process of its own. Counted is its largest resident memory during the first step, less
what it had before: TensorFlow, weights and momentum, 1.1 GB of them, are not in it, gradients are.
"""

from __future__ import annotations

import pathlib
import resource
import time

import numpy as np

from benchmarks import rounds

BATCHES = (8, 16, 32)
# Options of the net, and of the step.
OPTIONS = {
  "plain": ({}, {}),
  "recompute": ({"recompute": True}, {}),
  "4 slices": ({}, {"slices": 4}),
  "bfloat16": ({"compute_dtype": "bfloat16"}, {}),
  "bfloat16, recompute": ({"compute_dtype": "bfloat16", "recompute": True}, {}),
}
TIMED = 8  # the batch whose second step is timed


def measure() -> dict:
  rows, taken = [], {}
  for batch in BATCHES:
    found = taken[f"batch {batch}"] = {
      name: [rounds.apart(take_steps, name, batch)] for name in OPTIONS
    }
    (plain,) = found["plain"]
    for name, (one,) in found.items():
      ratio = one.amount / plain.amount
      speed = plain.cpu_seconds / one.cpu_seconds if batch == TIMED else float("nan")
      what = f"peak of a step, D, batch {batch}, {name}"
      rows.append(
        rounds.Row(what, "MiB", one.amount, "plain", plain.amount, ratio, ratio, ratio, speed)
      )
  notes = [
    "memory: by CPU time, speed beside the plain step's; gradients and the copies of weights are "
    f"the same at every batch. Timed with batch {TIMED}"
  ]
  return {"rows": rows, "notes": notes, "rounds": taken}


def take_steps(name: str, batch: int) -> rounds.Round:
  """Returns the peak of a first step, in MiB, and what a second takes of time, if it is timed."""
  import tensorflow as tf

  from vggtf import contracts
  from vggtf.losses import softmax, weight_decay
  from vggtf.models import vgg
  from vggtf.optimizers import schedules, sgd
  from vggtf.training import step

  net_options, step_options = OPTIONS[name]
  net = vgg.VGG(1000, (120.0, 115.0, 100.0), **net_options)
  update = sgd.SGD()
  update.build(net.trainable_variables)
  take = step.TrainStep(
    tf.distribute.OneDeviceStrategy("/cpu:0"),
    net,
    softmax.Softmax(),
    weight_decay.L2(),
    update,
    schedules.Constant(1e-3),
    tf.Variable(0, dtype=tf.int64, trainable=False),
    batch,
    seed=0,
    **step_options,
  )
  random = np.random.RandomState(0)
  image = random.randint(0, 256, (batch, net.input_size, net.input_size, 3)).astype(np.uint8)
  label = random.randint(0, 1000, batch).astype(np.int32)
  fixed = contracts.Batch(image, label, np.ones(batch, np.float32), np.full(batch, b"-"))
  batches = iter(tf.data.Dataset.from_tensors(fixed).repeat())

  pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
  before = _resident("VmRSS")
  take(batches, 1)
  peak = (_resident("VmHWM") - before) / 1024
  start, clock = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
  if batch == TIMED:
    take(batches, 1)
  seconds, end = time.perf_counter() - clock, resource.getrusage(resource.RUSAGE_SELF)
  system = end.ru_stime - start.ru_stime
  cpu = end.ru_utime - start.ru_utime + system
  return rounds.Round(peak, seconds, cpu, system, end.ru_minflt - start.ru_minflt)


def _resident(field: str) -> int:
  """Returns a size of this process's memory, in KiB."""
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
