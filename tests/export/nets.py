"""A net that is traced in a moment, pictures, and exports that several files of tests look at."""

from __future__ import annotations

import functools
import io
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from PIL import Image

from tests import samples
from vggtf import contracts, images
from vggtf.export import saved_model
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.predictors import dense

SIDE, CLASSES = 32, 6
LABELS = ("tench", "goldfish", "crane [bird]", "crane [machine]", "café", "n|6, or so")
SIZES = ((40, 61), (57, 33), (32, 32), (75, 37))


class Tiny(tf.Module):
  """Classifies by the mean colour."""

  input_size, classes = 8, CLASSES

  def __init__(self, seed: int = 0):
    super().__init__()
    draw = np.random.RandomState(seed)
    self.weights = tf.Variable(draw.randn(3, CLASSES).astype(np.float32))

  def __call__(self, pictures, training=None):
    means = tf.reduce_mean(tf.cast(pictures, tf.float32), [1, 2]) / 255
    return contracts.Outputs(logits=means @ self.weights, features=means)

  def score_map(self, pictures):
    means = tf.nn.avg_pool2d(tf.cast(pictures, tf.float32) / 255, 8, 4, "VALID")
    return tf.einsum("nhwc,ck->nhwk", means, self.weights)


def build_vgg() -> vgg.VGG:
  net = vgg.VGG(
    CLASSES, (120.0, 125.0, 130.0), "A", SIDE, width=1 / 16, initializer=initializers.He()
  )
  net.layers["fc8"].weights.assign(net.layers["fc8"].weights * 0.02)  # posteriors far from 0 and 1
  return net


@functools.cache
def exported_dense() -> tuple[dense.Dense, pathlib.Path]:
  """Returns a predictor around a small VGG, and its export, which nobody may change."""
  net = build_vgg()
  predictor = dense.Dense(net, 64)
  # Until the process ends, whichever test comes last.
  exported_dense.scratch = tempfile.TemporaryDirectory()
  base = pathlib.Path(exported_dense.scratch.name) / "export"
  return predictor, pathlib.Path(saved_model.export(base, net, predictor, LABELS, version=70))


def encode(pixels: np.ndarray, format_: str = "JPEG", **options) -> bytes:
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, format_, **options)
  return file.getvalue()


def encoded() -> list[bytes]:
  """Returns JPEGs of several sizes, grey among them, and PNGs."""
  found = []
  for seed, size in enumerate(SIZES):
    pixels = samples.paint(seed, *size)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    found += [encode(pixels), encode(grey), encode(pixels, "PNG")]
  return found


def measured(predictor: contracts.Predictor, files: list[bytes]) -> np.ndarray:
  """Returns what an evaluation would see, picture by picture."""

  def predict(file: bytes):
    views = predictor.prepare(images.decode(tf.constant(file)))
    return predictor(tf.nest.map_structure(lambda view: view[tf.newaxis], views))

  return np.concatenate([predict(file) for file in files])
