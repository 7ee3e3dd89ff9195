"""What nets elsewhere do to a picture's pixels, and how a first layer makes up for it.

Ours takes R, G and B in levels of 0..255 less a mean. Another order of colours turns the inputs of
conv1_1 around, and a division is that of its weights: the net is the same function of the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from vggtf.weights import canonical

FIRST = "conv1_1/weights"


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """(levels - mean) / deviation, in levels of 0..255, of colours in this order.

  mean_rgb, std_rgb: of R, G and B, whatever the order.
  order: "RGB" or "BGR", what the net is given first.
  """

  mean_rgb: tuple[float, float, float] = canonical.MEAN_RGB
  std_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
  order: str = "RGB"


RGB = Preprocessing()  # ours and TF-Slim's
BGR = Preprocessing(order="BGR")  # Caffe's and keras.applications'
# torchvision's and timm's: levels / 255, less (0.485, 0.456, 0.406), by (0.229, 0.224, 0.225).
TORCHVISION = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
KNOWN = {"rgb": RGB, "bgr": BGR, "torchvision": TORCHVISION}


def fold(tensors: Mapping[str, np.ndarray], of: Preprocessing) -> dict[str, np.ndarray]:
  """Returns the tensors of the same net for pixels that are only less the mean, R, G and B."""
  kernel = tensors[FIRST]
  if of.order == "BGR":
    kernel = kernel[:, :, ::-1]
  if any(one != 1 for one in of.std_rgb):
    kernel = (kernel / np.array(of.std_rgb)[:, np.newaxis]).astype(np.float32)
  return {**tensors, FIRST: np.ascontiguousarray(kernel)}


def unfold(tensors: Mapping[str, np.ndarray], order: str) -> dict[str, np.ndarray]:
  """Returns the tensors of the same net for this order of colours; no deviation divides."""
  if order == "RGB":
    return dict(tensors)
  return {**tensors, FIRST: np.ascontiguousarray(tensors[FIRST][:, :, ::-1])}
