"""The training step and the forward pass, beside torch's, Keras's and a matrix product.

One batch stays in memory. torch runs the same net, eager, channels_last, on as many threads, with
its fused SGD; Keras 2 in model.fit. They compute no error rates, ours does. All take as many steps
in a round; ours in one call, as training does, and Keras in one epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from benchmarks import peers, rounds
from benchmarks.peers import SIDE
from vggtf import contracts
from vggtf.data import threads
from vggtf.losses import softmax, weight_decay
from vggtf.models import vgg
from vggtf.optimizers import schedules, sgd
from vggtf.training import step as training_step
from vggtf.training import strategy as strategies

CLASSES = 1000
MATRIX_SIDE = 4096
TYPES = ("float32", "bfloat16")
BATCHES = (8, 32)
IMAGES = 32  # of a round
ROUNDS = 5


def measure() -> dict:
  rows, taken = [], {}
  for compute_type, batch in itertools.product(TYPES, BATCHES):
    what = f"{compute_type}, batch {batch}"
    found = taken[what] = rounds.take_turns(_contenders(compute_type, batch), ROUNDS)
    for ours, others in {"forward": ("torch",), "step": ("torch", "Keras's fit")}.items():
      rows += [
        rounds.compare(f"D, {ours}, {what}", "img/s", found[ours], peer, found[f"{ours}, {peer}"])
        for peer in others
        if f"{ours}, {peer}" in found
      ]
    rows.append(
      rounds.compare(
        f"D, step, {what}",
        "GFLOP/s",
        found["step"],
        f"matrix product {MATRIX_SIDE}^3",
        found["product"],
        weight=2 * multiply_adds() / 1e9,
      )
    )
  notes = ["step: GFLOP/s from the multiply-adds of the convolutions and matrix products alone"]
  for package, there in {"torch": peers.TORCH, "tf_keras": peers.KERAS}.items():
    if not there:
      notes.append(f"step: {package} is not installed, so nothing is compared with it")
  return {"rows": rows, "notes": notes, "rounds": taken}


def _contenders(compute_type: str, batch: int) -> dict[str, rounds.Contender]:
  """Returns who runs net D at 224 pixels: ours, its peers, and a matrix product."""
  image, label = draw(batch)
  net = vgg.VGG(CLASSES, peers.MEAN_RGB, compute_dtype=compute_type)
  forward = tf.function(lambda: net(tf.constant(image)).logits)
  times = IMAGES // batch

  def repeated(run: Callable[[], object]) -> rounds.Contender:
    return rounds.contender(lambda: [run() for _ in range(times)], IMAGES)

  contenders = {
    "step": rounds.contender(make_step(net, image, label, times), IMAGES),
    "product": make_product(compute_type),
    "forward": repeated(lambda: forward().numpy()),
  }
  if peers.TORCH:
    step, forward_ = peers.make_torch(compute_type, image, label, CLASSES)
    contenders |= {"step, torch": repeated(step), "forward, torch": repeated(forward_)}
  if peers.KERAS:
    contenders["step, Keras's fit"] = rounds.contender(
      peers.make_keras_fit(compute_type, image, label, CLASSES, times), IMAGES
    )
  return contenders


def make_step(
  net: vgg.VGG, image: np.ndarray, label: np.ndarray, times: int
) -> Callable[[], object]:
  """Returns what takes the product's step on one batch, so many times in a call."""
  strategy = strategies.one_device("CPU:0")
  update = sgd.SGD()
  update.build(net.trainable_variables)
  take = training_step.TrainStep(
    strategy,
    net,
    softmax.Softmax(),
    weight_decay.L2(),
    update,
    schedules.Constant(1e-3),
    tf.Variable(0, dtype=tf.int64, trainable=False),
    len(label),
    seed=0,
  )
  ones, ids = np.ones(len(label), np.float32), np.full(len(label), b"-")
  batches = repeat(contracts.Batch(image, label, ones, ids))
  return lambda: take(batches, times)


def draw(batch: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns noise as images, uint8 [N, SIDE, SIDE, 3], and labels, int32 [N]."""
  random = np.random.RandomState(0)
  image = random.randint(0, 256, (batch, SIDE, SIDE, 3)).astype(np.uint8)
  return image, random.randint(0, CLASSES, batch).astype(np.int32)


def repeat(batch: contracts.Batch) -> Iterator:
  """Returns an iterator of one batch for ever, without tf.data's thread that tunes it."""
  return iter(threads.untuned(tf.data.Dataset.from_tensors(batch).repeat()))


def make_product(compute_type: str) -> rounds.Contender:
  """Returns products of two matrices, in GFLOP: torch's, or TensorFlow's where it is missing."""
  if peers.TORCH:
    import torch

    left, right = (
      torch.randn(MATRIX_SIDE, MATRIX_SIDE, dtype=getattr(torch, compute_type)) for _ in range(2)
    )
    multiply = lambda: torch.mm(left, right)  # noqa: E731
  else:
    left, right = (
      tf.cast(tf.random.stateless_normal([MATRIX_SIDE] * 2, (0, at)), compute_type)
      for at in range(2)
    )
    multiply = lambda: tf.linalg.matmul(left, right).numpy()  # noqa: E731
  times = round(IMAGES * multiply_adds() / MATRIX_SIDE**3)  # as many operations as the steps
  return rounds.contender(
    lambda: [multiply() for _ in range(times)], times * 2 * MATRIX_SIDE**3 / 1e9
  )


def multiply_adds() -> int:
  """Returns the multiply-adds of one image's step: forward, gradients of weights and of maps."""
  layers, inputs, side = [], 3, SIDE
  for block, channels in zip(vgg.CONFIGS["D"], vgg.BLOCK_CHANNELS, strict=True):
    for kernel in block:
      layers.append(side**2 * kernel**2 * inputs * channels)
      inputs = channels
    side //= 2
  for outputs in (4096, 4096, CLASSES):
    layers.append(side**2 * inputs * outputs)
    inputs, side = outputs, 1
  return 3 * sum(layers) - layers[0]  # nobody asks for the gradient of the pixels
