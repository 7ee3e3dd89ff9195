"""The one form that all formats are read into and written from.

Tensors carry the names of the net's variables: Caffe's layers, with weights [height, width, inputs,
outputs], biases, and the norms' scale, offset, moving_mean and moving_variance. Inputs are R, G, B
in levels of 0..255, less `Facts.mean_rgb`. A VGG's tensors say by themselves what net they are of.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from vggtf import errors

# Of ILSVRC-2012's training set, as the authors' release notes give it (there as B, G, R).
MEAN_RGB = (123.68, 116.779, 103.939)
TOP = ("fc6", "fc7", "fc8")

# Table 1 again, for nets that only their tensors describe: the sides of each block's kernels. A-LRN
# has the tensors of A.
CONFIGS = {
  "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
  "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
  "B-shallow": ((5,), (5,), (5,), (5,), (5,)),
  "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
  "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
  "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
# The tensors of a norm.
NORMS = {
  None: (),
  "group": ("scale", "offset"),
  "batch": ("scale", "offset", "moving_mean", "moving_variance"),
}


@dataclasses.dataclass(frozen=True)
class Facts:
  """What a net's answer depends on beside its tensors.

  mean_rgb: levels of 0..255, subtracted from R, G and B.
  labels: readable class names in label order; None where nobody kept them.
  pool_rounding: "floor" or "ceil" (Caffe), what a pooling does with an odd side.
  lrn_form: of net A-LRN's layer, "alexnet" or "caffe"; None in nets that have none.
  input_size: side in pixels of the images that the net classifies; None: 32 times fc6's.
  """

  mean_rgb: tuple[float, float, float] = MEAN_RGB
  labels: tuple[str, ...] | None = None
  pool_rounding: str = "floor"
  lrn_form: str | None = None
  input_size: int | None = None


@dataclasses.dataclass(frozen=True)
class Weights:
  """A net's tensors, float32, by canonical name, and its facts."""

  tensors: Mapping[str, np.ndarray]
  facts: Facts = Facts()


@dataclasses.dataclass(frozen=True)
class Net:
  """What the tensors of a VGG say that it is.

  config: a key of `CONFIGS`.
  top: ("fc6", "fc7", "fc8"), or nothing where only the convolutions were kept.
  norm: "batch", "group" or None: what stands between a convolution and its ReLU.
  """

  config: str
  top: tuple[str, ...]
  norm: str | None

  @property
  def blocks(self) -> list[list[str]]:
    """Returns the names of each block's convolutions; a pooling follows each block."""
    return blocks(self.config)

  @property
  def convolutions(self) -> list[str]:
    """Returns their names in order."""
    return [name for block in self.blocks for name in block]


def blocks(config: str) -> list[list[str]]:
  """Returns the names of each block's convolutions."""
  return [
    [f"conv{block}_{index}" for index in range(1, len(sides) + 1)]
    for block, sides in enumerate(CONFIGS[config], 1)
  ]


def norm_name(convolution: str) -> str:
  """Returns the name of the norm that follows a convolution."""
  return convolution.replace("conv", "norm")


def describe(tensors: Mapping[str, np.ndarray], where: str) -> Net:
  """Returns the net that the tensors are of, having checked each of them.

  Args:
    tensors: of a VGG, with its fully-connected layers or without.
    where: the file, for messages.

  Raises:
    IntegrityError: tensors are missing, left over or of wrong shapes; all of them are listed.
  """
  parts = {name.partition("/")[2] for name in tensors if name.startswith("norm")}
  norm = ("batch" if any("moving" in part for part in parts) else "group") if parts else None
  net = Net(
    nearest(tensors, where), TOP if any(name.startswith("fc") for name in tensors) else (), norm
  )
  expected: dict[str, tuple[int | None, ...]] = {}
  channels = 3
  sides = [side for block in CONFIGS[net.config] for side in block]
  sides += [len(tensors.get("fc6/weights", ())) or None, 1, 1]
  for name, side in zip([*net.convolutions, *net.top], sides, strict=False):
    kernel = tensors.get(f"{name}/weights")
    outputs = kernel.shape[-1] if kernel is not None and kernel.ndim == 4 else None
    expected[f"{name}/weights"] = (side, side, channels, outputs)
    expected[f"{name}/biases"] = (outputs,)
    if name not in net.top:
      expected |= {f"{norm_name(name)}/{part}": (outputs,) for part in NORMS[norm]}
    channels = outputs
  if problems := _differences(expected, tensors):
    raise errors.IntegrityError(
      f"{where}: not a whole VGG, nothing was taken; nearest to net {net.config}, but "
      + "; ".join(problems)
    )
  return net


def native_size(tensors: Mapping[str, np.ndarray]) -> int:
  """Returns the side of the images that a VGG classifies: five poolings leave what fc6 spans."""
  return 32 * len(tensors["fc6/weights"]) if "fc6/weights" in tensors else 224


def nearest(tensors: Mapping[str, np.ndarray], where: str) -> str:
  """Returns the configuration whose convolutions differ least, in names and sides, from these.

  Raises:
    IntegrityError: there is no convolution at all.
  """
  found = {
    (name.partition("/")[0], len(tensor))
    for name, tensor in tensors.items()
    if name.startswith("conv") and tensor.ndim == 4
  }
  if not found:
    raise errors.IntegrityError(f"{where} holds no VGG: there is no convolution in it")

  def distance(config: str) -> int:
    sides = (side for block in CONFIGS[config] for side in block)
    names = (name for block in blocks(config) for name in block)
    return len(set(zip(names, sides, strict=True)) ^ found)

  return min(CONFIGS, key=distance)


def rename(
  found: Mapping[str, np.ndarray],
  names: Mapping[str, str],
  convert: Callable[[str, np.ndarray], np.ndarray],
  where: str,
) -> dict[str, np.ndarray]:
  """Returns a file's tensors under their canonical names.

  Args:
    found: the file's tensors.
    names: canonical names by the file's, of all that a net has.
    convert: turns the axes of a tensor of this canonical name.
    where: the file, for messages.

  Raises:
    IntegrityError: tensors are missing or left over or no numbers; all of them are listed.
  """
  problems = [f"{name} ({names[name]}) is missing" for name in names.keys() - found.keys()]
  problems += [f"{name} is none of its tensors" for name in found.keys() - names.keys()]
  tensors = {}
  for name, tensor in found.items():
    if tensor.dtype not in (np.float32, np.float16):
      problems.append(f"{name} is of {tensor.dtype} where float32 is expected")
    elif name in names:
      try:
        tensors[names[name]] = convert(names[name], tensor)
      except ValueError:
        problems.append(f"{name} ({names[name]}) has the shape {tensor.shape}")
  if problems:
    raise errors.IntegrityError(
      f"{where}: not a whole VGG, nothing was taken: {'; '.join(sorted(problems))}"
    )
  return {name: np.ascontiguousarray(one, np.float32) for name, one in tensors.items()}


def from_rows(name: str, tensor: np.ndarray, channels: int) -> np.ndarray:
  """Returns the kernel of a tensor in the axes of Caffe and PyTorch; vectors as they are.

  Args:
    name: canonical.
    tensor: [outputs, inputs, height, width], or [outputs, inputs * height * width], or [outputs].
    channels: of the map that fc6 sees, which its row holds one after the other.

  Raises:
    ValueError: no kernel has this shape.
  """
  if not name.endswith("/weights"):
    return tensor
  if tensor.ndim == 2:
    inputs = channels if name.startswith("fc6") else tensor.shape[1]
    side = math.isqrt(tensor.shape[1] // inputs)
    tensor = tensor.reshape(len(tensor), inputs, side, side)
  return tensor.transpose(2, 3, 1, 0)


def to_rows(kernel: np.ndarray, flat: bool) -> np.ndarray:
  """Returns [outputs, inputs, height, width] of a kernel, or [outputs, inputs * height * width]."""
  turned = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
  return turned.reshape(len(turned), -1) if flat else turned


def _differences(
  expected: Mapping[str, tuple[int | None, ...]], tensors: Mapping[str, np.ndarray]
) -> list[str]:
  """Returns a phrase for each tensor that is not as expected; a None in a shape is any size."""
  problems = [f"{name} is missing" for name in expected if name not in tensors]
  for name, tensor in tensors.items():
    shape = expected.get(name)
    if shape is None:
      problems.append(f"{name} is none of its tensors")
    elif len(shape) != tensor.ndim or any(
      want not in (None, size) for want, size in zip(shape, tensor.shape, strict=True)
    ):
      sizes = ", ".join("any" if want is None else str(want) for want in shape)
      problems.append(f"{name} has the shape {tensor.shape} where ({sizes}) is expected")
  return problems
