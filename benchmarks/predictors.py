"""The paper's ways to look at a photo: what they cost beside the forward pass at 224 pixels.

Net D on photos at Q = 384: dense with flip, and 50 crops. Beside them the forward pass alone, on a
batch of crops that stays in memory, by ours, torch and ONNX Runtime. Photos are decoded before.
"""

from __future__ import annotations

import collections
import importlib.util
import itertools
import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from benchmarks import peers, photos, rounds
from vggtf import images, weights
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.predictors import dense, multi_crop

ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
TYPES = ("float32", "bfloat16")
SCALE, PHOTOS, ROUNDS = 384, 64, 5
CROPS, TOGETHER = 16, 2  # of a batch: crops, and whole photos
CLASSES = 1000


def measure() -> dict:
  rows, taken = [], {}
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    batches, what = read(folder)
    for compute_type in TYPES:
      net = build(compute_type)
      found = taken[compute_type] = rounds.take_turns(
        make_contenders(net, compute_type, batches, folder), ROUNDS
      )
      size = batches[0].shape[1:3]
      worth = 2 * multiply_adds(net, *size) / multiply_adds(net, peers.SIDE, peers.SIDE)
      label = f"net D, {compute_type}"
      rows += [
        rounds.compare(
          f"{label}, dense Q={SCALE}, flip",
          "224 crops' worth/s",
          found["dense"],
          "224 forward pass",
          found["forward"],
          weight=worth,
        ),
        rounds.compare(
          f"{label}, dense Q={SCALE}, flip",
          "photo/s",
          found["dense"],
          f"50 crops, Q={SCALE}",
          found["crops"],
        ),
      ]
      rows += [
        rounds.compare(f"{label}, 224 forward", "img/s", found["forward"], peer, found[peer])
        for peer in ("torch", "ONNX Runtime")
        if peer in found
      ]
      del net
  notes = [
    f"predictors: {what}; those of {size[0]}x{size[1]} at Q={SCALE}, where dense and flip have "
    f"1/{50 / worth:.1f} of the multiply-adds of 50 crops"
  ]
  notes += [
    f"predictors: {name} is not installed, so nothing is compared with it"
    for name, there in (("torch", peers.TORCH), ("ONNX Runtime", ONNX))
    if not there
  ]
  return {"rows": rows, "notes": notes, "rounds": taken}


def read(folder: pathlib.Path) -> tuple[list[tf.Tensor], str]:
  """Returns batches of photos of the most frequent size at Q, and what photos they are."""
  (folder / "photos").mkdir()
  what = photos.write(folder / "photos")
  by_size = collections.defaultdict(list)
  for path in sorted((folder / "photos").glob("*/*"))[:PHOTOS]:
    image = images.rescale(images.decode(path.read_bytes()), SCALE)
    by_size[tuple(image.shape)].append(image)
  most = max(by_size.values(), key=len)
  starts = range(0, len(most) - TOGETHER + 1, TOGETHER)
  return [tf.stack(most[start : start + TOGETHER]) for start in starts], what


def build(compute_type: str) -> vgg.VGG:
  options = {"compute_dtype": compute_type, "initializer": initializers.He()}
  return vgg.VGG(CLASSES, peers.MEAN_RGB, "D", **options)


def make_contenders(
  net: vgg.VGG, compute_type: str, batches: list[tf.Tensor], folder: pathlib.Path
) -> dict[str, rounds.Contender]:
  """Returns what is timed; the amounts are crops of 224 pixels, or photos."""
  crops = np.random.RandomState(0).randint(0, 256, (CROPS, peers.SIDE, peers.SIDE, 3))
  crops = crops.astype(np.uint8)
  given = tf.constant(crops)
  forward = tf.function(lambda: net(given).logits)
  whole = tf.TensorSpec([None, None, None, 3], tf.uint8)
  slide, cut = (
    tf.function(predictor(net, SCALE).__call__, input_signature=[whole])
    for predictor in (dense.Dense, multi_crop.MultiCrop)
  )
  slid, cropped = itertools.cycle(batches), itertools.cycle(batches)

  def take(work, amount):
    return rounds.Contender(lambda: (work(), amount)[1])

  contenders = {
    "forward": take(lambda: forward().numpy(), CROPS),
    "dense": take(lambda: slide(next(slid)).numpy(), TOGETHER),
    "crops": take(lambda: cut(next(cropped)[:1]).numpy(), 1),
  }
  if peers.TORCH:
    labels = np.zeros(CROPS, np.int32)
    _, theirs = peers.make_torch(compute_type, crops, labels, CLASSES)
    contenders["torch"] = take(theirs, CROPS)
  if ONNX and compute_type == "float32":
    session = open_session(net, folder / "net.onnx")
    feed = {"images": crops.astype(np.float32)}
    contenders["ONNX Runtime"] = take(lambda: session.run(["logits"], feed), CROPS)
  return contenders


def open_session(net: vgg.VGG, path: pathlib.Path):
  import onnxruntime

  tensors = {v.name.split(":")[0]: v.numpy() for v in net.variables if "/" in v.name}
  labels = tuple(map(str, range(CLASSES)))
  weights.write(path, weights.Weights(tensors, weights.Facts(peers.MEAN_RGB, labels)))
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  options.intra_op_num_threads = len(os.sched_getaffinity(0))
  return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def multiply_adds(net: vgg.VGG, height: int, width: int) -> int:
  """Returns the multiply-adds of a score map of one picture."""
  total = 0
  for name, layer in net.layers.items():
    kernel, _, inputs, outputs = layer.weights.shape
    block = int(name[4]) - 1 if name.startswith("conv") else 5  # poolings before it
    rows, columns = height >> block, width >> block
    if not name.startswith("conv"):  # fc6 is not padded, and fc7 and fc8 see its places
      rows, columns = rows - 6, columns - 6
    total += rows * columns * kernel**2 * inputs * outputs
  return total
