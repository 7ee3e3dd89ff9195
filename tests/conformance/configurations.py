"""Every gin file of the project, found and not listed, and the nets that they make."""

import functools
from collections.abc import Callable
from pathlib import Path

import gin
import numpy as np
import tensorflow as tf

from vggtf import config

GIN = Path(__file__).parents[2] / "gin"
NETS = sorted(path.stem for path in GIN.glob("*.gin"))
OVERLAYS = sorted(f"{path.parent.name}/{path.stem}" for path in GIN.glob("[we]*/*.gin"))

CLASSES = 1000
MEAN_RGB = (123.68, 116.779, 103.939)


def parse(*names: str, params: tuple[str, ...] = ()) -> None:
  """Reads gin/<name>.gin, one over the other, as the command line would."""
  gin.clear_config()
  config.parse([f"gin/{name}.gin" for name in names], list(params))


def constructor(name: str) -> Callable:
  """Returns the net's constructor, bound as the file says."""
  parse(name)
  with gin.unlock_config():
    gin.parse_config(
      "from __gin__ import dynamic_registration\n"
      "from tests.conformance import configurations\n"
      "configurations.bound.model = %MODEL"
    )
  return config.configured(bound)()


def bound(model: Callable) -> Callable:
  return model


@functools.cache
def net(name: str, seed: int = 0):
  """Returns the file's net, an eighth as wide unless it is small, with all its layers; float32."""
  smaller = {} if name == "quickstart" else {"width": 0.125}
  return constructor(name)(
    classes=CLASSES, mean_rgb=MEAN_RGB, seed=seed, compute_dtype="float32", **smaller
  )


def pictures(side: int, count: int = 2) -> tf.Tensor:
  """Returns uint8 [count, side, side, 3] of noise."""
  noise = np.random.RandomState(0).randint(0, 256, (count, side, side, 3))
  return tf.constant(noise, tf.uint8)
