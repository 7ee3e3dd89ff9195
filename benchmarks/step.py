"""The training step: against torch's, against the machine's matrix product, and in the whole loop.

Bare is the step on one batch that stays in memory. torch runs the same net, eager, channels_last,
on as many threads, with its fused SGD; it computes no error rates, ours does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import math
import os
import pathlib
import tempfile
import types
from collections.abc import Iterator

import gin
import numpy as np
import tensorflow as tf

from benchmarks import photos, rounds
from vggtf import config, contracts
from vggtf.data import shards
from vggtf.jobs import train
from vggtf.losses import softmax, weight_decay
from vggtf.models import vgg
from vggtf.optimizers import schedules, sgd
from vggtf.training import checkpoint, hooks, loop, step, stopping
from vggtf.training import strategy as strategies

MEAN_RGB = (120.0, 115.0, 100.0)
TORCH = importlib.util.find_spec("torch") is not None
MATRIX_SIDES = (2048, 4096)
# Net, its batch, steps a round, rounds.
BARE = {
  "net A, width 0.25, 32 px, batch 64": (
    {"classes": 10, "config": "A", "width": 0.25, "input_size": 32},
    64,
    20,
    5,
  ),
  "net D, 224 px, batch 8": ({"classes": 1000, "config": "D"}, 8, 1, 2),
}
LOOP_ROUNDS = 3


def measure() -> dict:
  rows, taken = [], {}
  for name, (options, batch_size, steps, count) in BARE.items():
    net, contender = make_step(options, batch_size, steps)
    contenders = {"step": contender}
    if TORCH:
      contenders["torch"] = make_torch_step(options, batch_size, steps)
    contenders |= {f"matrix {side}": make_product(side) for side in MATRIX_SIDES}
    found = taken[name] = rounds.take_turns(contenders, count)
    if TORCH:
      rows.append(
        rounds.compare(f"step, {name}", "img/s", found["step"], "torch's", found["torch"])
      )
    for side in MATRIX_SIDES:
      rows.append(
        rounds.compare(
          f"step, {name}",
          "GFLOP/s",
          found["step"],
          f"matrix product {side}^3",
          found[f"matrix {side}"],
          weight=2 * multiply_adds(net) / 1e9,
        )
      )
  found = taken["loop"] = measure_loop()
  for label, ours in (("quickstart, fed", "fed"), ("quickstart, fed, all hooks", "whole")):
    rows.append(rounds.compare(label, "img/s", found[ours], "its bare step", found["bare"]))
  notes = ["step: GFLOP/s from the multiply-adds of the convolutions and matrix products alone"]
  if not TORCH:
    notes.append("step: torch is not installed, so nothing is compared with it")
  return {"rows": rows, "notes": notes, "rounds": taken}


def make_step(options: dict, batch_size: int, steps: int) -> tuple[vgg.VGG, rounds.Contender]:
  """Returns a net and its TrainStep on one batch of noise."""
  strategy = strategies.one_device("CPU:0")
  with strategy.scope():
    net = vgg.VGG(mean_rgb=MEAN_RGB, **options)
    update = sgd.SGD()
    update.build(net.trainable_variables)
    done = tf.Variable(0, dtype=tf.int64, trainable=False)
  take = step.TrainStep(
    strategy,
    net,
    softmax.Softmax(),
    weight_decay.L2(),
    update,
    schedules.Constant(1e-3),
    done,
    batch_size,
    seed=0,
    jit_compile=False,
  )
  image, label = draw(options["classes"], batch_size, net.input_size)
  fixed = contracts.Batch(image, label, np.ones(batch_size, np.float32), np.full(batch_size, b"-"))
  batches = repeat(fixed)

  def work():
    take(batches, steps)
    return steps * batch_size

  return net, rounds.Contender(work)


def make_torch_step(options: dict, batch_size: int, steps: int) -> rounds.Contender:
  """Returns the step of the same net in torch, on a batch of the same noise."""
  import torch

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  side, width = options.get("input_size", 224), options.get("width", 1.0)
  layers, inputs = [], 3
  for block, channels in zip(vgg.CONFIGS[options["config"]], vgg.BLOCK_CHANNELS, strict=True):
    for kernel in block:
      outputs = round(channels * width)
      layers += [torch.nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), torch.nn.ReLU()]
      inputs = outputs
    layers.append(torch.nn.MaxPool2d(2))
  layers.append(torch.nn.Flatten())
  inputs, hidden = inputs * (side // 32) ** 2, round(vgg.HIDDEN_CHANNELS * width)
  for _ in ("fc6", "fc7"):
    layers += [torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    inputs = hidden
  net = torch.nn.Sequential(*layers, torch.nn.Linear(hidden, options["classes"]))
  net = net.to(memory_format=torch.channels_last).train()
  update = torch.optim.SGD(
    net.parameters(), lr=1e-3, momentum=0.9, weight_decay=weight_decay.L2()._decay, fused=True
  )
  image, label = map(torch.from_numpy, draw(options["classes"], batch_size, side))
  label, mean = label.long(), torch.tensor(MEAN_RGB)

  def work():
    for _ in range(steps):
      maps = (image.float() - mean).permute(0, 3, 1, 2)  # so stored: channels last
      loss = torch.nn.functional.cross_entropy(net(maps), label)
      update.zero_grad()
      loss.backward()
      update.step()
    loss.item()
    return steps * batch_size

  return rounds.Contender(work)


def draw(classes: int, batch_size: int, side: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns noise as images, uint8 [N, side, side, 3], and labels, int32 [N]."""
  random = np.random.RandomState(0)
  image = random.randint(0, 256, (batch_size, side, side, 3)).astype(np.uint8)
  return image, random.randint(0, classes, batch_size).astype(np.int32)


def repeat(batch: contracts.Batch) -> Iterator:
  """Returns an iterator of one batch for ever, without tf.data's thread that tunes it."""
  options = tf.data.Options()
  options.autotune.enabled = False
  return iter(tf.data.Dataset.from_tensors(batch).repeat().with_options(options))


def make_product(side: int) -> rounds.Contender:
  """Returns products of two float32 matrices, in GFLOP; enough for half a second or so."""
  left, right = (tf.random.stateless_normal((side, side), seed=(0, at)) for at in range(2))
  times = max(1, (4096 // side) ** 3 // 2)

  def work():
    for _ in range(times):
      product = tf.linalg.matmul(left, right)
    product.numpy()
    return times * 2 * side**3 / 1e9

  return rounds.Contender(work)


def multiply_adds(net: vgg.VGG) -> int:
  """Returns the multiply-adds of one image's step: forward, gradients of weights and of maps."""
  layers = []
  for name, layer in net.layers.items():
    # conv3_1 sees the map after two poolings; a fully-connected layer is applied in one place.
    places = (net.input_size >> int(name[4]) - 1) ** 2 if name.startswith("conv") else 1
    layers.append(places * math.prod(layer.weights.shape))
  return 3 * sum(layers) - layers[0]  # nobody asks for the gradient of the pixels


def measure_loop() -> dict[str, list[rounds.Round]]:
  """Returns rounds of the quickstart: its bare step, with its feed, and with its hooks too."""
  with tempfile.TemporaryDirectory() as folder, stopping.StopRequest() as stop:
    data = photos.digits(pathlib.Path(folder))
    run = make_run(data, pathlib.Path(folder) / "run")
    feed = run.feed.batches(first_step=0)
    fixed = repeat(next(iter(feed)))
    batch_size = run.feed.batch_size
    fed = strategies.distribute(run.strategy, lambda: feed, batch_size)
    starts = itertools.count(0, run.round)

    def whole():
      start = next(starts)
      loop.run(
        lambda count: run.take(fed, count),
        start,
        start + run.round,
        run.hooks,
        batch_size,
        run.block,
        stop,
      )
      return run.round * batch_size

    def steps(batches):
      run.take(batches, run.block)
      return run.block * batch_size

    contenders = {
      "bare": rounds.Contender(lambda: steps(fixed)),
      "fed": rounds.Contender(lambda: steps(fed)),
      "whole": rounds.Contender(whole),
    }
    return rounds.take_turns(contenders, LOOP_ROUNDS)


def make_run(data: str, folder: pathlib.Path) -> types.SimpleNamespace:
  """Puts together what vggtf/jobs/train.py does for gin/quickstart.gin.

  round: steps from one evaluation and checkpoint to the next. block: steps a call.
  """
  config.parse(["gin/quickstart.gin"], [])
  config.configured(train.run)
  bound = types.SimpleNamespace(**gin.get_bindings("vggtf.jobs.train.run"))
  facts = shards.read_manifest(data)
  strategy = bound.strategy()
  with strategy.scope():
    net = bound.model(classes=len(facts.labels), mean_rgb=facts.statistics.mean_rgb)
    update, rate, decay = bound.optimizer(), bound.schedule(), bound.weight_decay()
    update.build(net.trainable_variables)
    done = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
  feed = bound.feed(data_dir=data, side=net.input_size, seed=0)
  take = step.TrainStep(
    strategy,
    net,
    bound.loss(),
    decay,
    update,
    rate,
    done,
    feed.batch_size,
    seed=0,
    jit_compile=False,
  )
  state = tf.train.Checkpoint(model=net, optimizer=update, schedule=rate, step=done)
  checkpoints = checkpoint.Checkpoints(folder / "checkpoints")
  board, validation = (hooks.TensorBoard(folder / name, 50) for name in ("train", "validation"))

  def tell(at, measured):
    validation.scalars({name: mean.value for name, mean in measured.items()}, at)

  measure_error = hooks.Evaluate(bound.evaluate_every, bound.evaluator(net, data), tell, None)
  with contextlib.redirect_stderr(io.StringIO()):  # no bar: its thread would run under the others
    console = hooks.Console(50, 0, bound.steps)
  between = [
    hooks.StopOnNonFinite(),
    hooks.WarnStuck(len(facts.labels)),
    console,
    board,
    measure_error,
    hooks.SaveCheckpoint(
      bound.checkpoint_every,
      lambda at, error: checkpoints.save(state, at, error),
      measure_error,
    ),
  ]
  return types.SimpleNamespace(
    strategy=strategy, feed=feed, take=take, hooks=between, round=bound.evaluate_every, block=50
  )
