"""The one form that all formats are read into and written from.

Tensors carry the names of the net's variables: Caffe's layers, with weights [height, width, inputs,
outputs], biases, and the norms' scale, offset, moving_mean and moving_variance. Inputs are R, G, B
in levels of 0..255, less `Facts.mean_rgb`. A VGG's tensors say by themselves what net they are of.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from vggtf import errors

# Of ILSVRC-2012's training set, as the authors' release notes give it (there as B, G, R).
MEAN_RGB = (123.68, 116.779, 103.939)
POOLINGS = 5  # section 2.1
TOP = ("fc6", "fc7", "fc8")
EPSILON = 1e-5  # what norms add to a variance (vggtf/nn/norms.py), and PyTorch's too
GROUPS = 32  # of group norm, as many of them as the channels allow

# How many convolutions the five blocks hold, and the sides of their kernels, by the net's letter.
_CONFIGS = {
  ((3,), (3,), (3, 3), (3, 3), (3, 3)): "A",
  ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)): "B",
  ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)): "C",
  ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)): "D",
  ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)): "E",
}
_NORMS = {
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

  blocks: names of the convolutions of each of the five blocks; a pooling follows each.
  top: ("fc6", "fc7", "fc8"), or nothing where only the convolutions were kept.
  norm: "batch", "group" or None: what stands between a convolution and its ReLU.
  config: its row in table 1, such as "D"; None where it has none. A-LRN's tensors are A's.
  classes, input_size: None without a top.
  """

  blocks: tuple[tuple[str, ...], ...]
  top: tuple[str, ...]
  norm: str | None
  config: str | None
  classes: int | None
  input_size: int | None

  @property
  def convolutions(self) -> list[str]:
    """Returns their names in order."""
    return [name for block in self.blocks for name in block]


def norm_name(convolution: str) -> str:
  """Returns the name of the norm that follows a convolution."""
  return convolution.replace("conv", "norm")


def norm_parts(norm: str | None) -> tuple[str, ...]:
  """Returns the names of a norm's tensors."""
  return _NORMS[norm]


def describe(weights: Weights, where: str) -> Net:
  """Returns the net that the tensors are of, having checked each of them.

  Args:
    weights: of a VGG, with its fully-connected layers or without.
    where: the file, for messages.

  Raises:
    IntegrityError: tensors are missing, left over or of wrong shapes; all of them are listed.
  """
  tensors = weights.tensors
  blocks = _blocks(tensors)
  norm = _norm(tensors)
  top = TOP if any(name.startswith("fc") for name in tensors) else ()
  expected: dict[str, tuple[int, ...] | None] = {}
  channels = 3
  for name in [*(name for block in blocks for name in block), *top]:
    kernel = tensors.get(f"{name}/weights")
    side, outputs = (kernel.shape[0], kernel.shape[-1]) if _is_kernel(kernel) else (None, None)
    side = 1 if name in ("fc7", "fc8") else side
    expected[f"{name}/weights"] = None if side is None else (side, side, channels, outputs)
    expected[f"{name}/biases"] = (outputs,)
    if name not in top:
      for part in _NORMS[norm]:
        expected[f"{norm_name(name)}/{part}"] = (outputs,)
    channels = outputs
  problems = _differences(expected, tensors)
  if problems or len(blocks) != POOLINGS:
    if len(blocks) != POOLINGS:
      problems.insert(0, f"{len(blocks)} blocks of convolutions, a VGG has {POOLINGS}")
    raise errors.IntegrityError(
      f"{where} is not a whole VGG, and nothing of it was taken: {'; '.join(problems)}"
    )
  sides = tuple(tuple(len(tensors[f"{name}/weights"]) for name in block) for block in blocks)
  size = weights.facts.input_size
  return Net(
    blocks=blocks,
    top=top,
    norm=norm,
    config=_CONFIGS.get(sides),
    classes=tensors["fc8/biases"].size if top else None,
    input_size=(size or 2**POOLINGS * len(tensors["fc6/weights"])) if top else None,
  )


def collect(
  found: Iterable[str],
  convert: Callable[[str], tuple[str, np.ndarray] | None],
  where: str,
) -> dict[str, np.ndarray]:
  """Returns canonical tensors of a file's.

  Args:
    found: the names that the file has.
    convert: returns for one of them the canonical name and tensor, None where it knows none.
    where: the file, for messages.

  Raises:
    IntegrityError: there are names that are not known; all of them are listed.
  """
  tensors, unknown = {}, []
  for name in found:
    converted = convert(name)
    if converted is None:
      unknown.append(name)
    else:
      tensors[converted[0]] = np.ascontiguousarray(converted[1], np.float32)
  if unknown:
    raise errors.IntegrityError(
      f"{where} holds what no VGG has, and nothing of it was taken: {', '.join(sorted(unknown))}"
    )
  return tensors


def _blocks(tensors: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], ...]:
  """Returns conv1_1 ... up to the last number that is found: gaps are missing layers."""
  places = {
    (int(match[1]), int(match[2]))
    for name in tensors
    if (match := re.match(r"(?:conv|norm)([1-9])_([1-9]\d?)/", name))
  }
  last = max((block for block, _ in places), default=0)
  return tuple(
    tuple(
      f"conv{block}_{index}"
      for index in range(1, 1 + max((i for b, i in places if b == block), default=1))
    )
    for block in range(1, last + 1)
  )


def _norm(tensors: Mapping[str, np.ndarray]) -> str | None:
  parts = {name.partition("/")[2] for name in tensors if name.startswith("norm")}
  if any(part.startswith("moving") for part in parts):
    return "batch"
  return "group" if parts else None


def _is_kernel(tensor: np.ndarray | None) -> bool:
  return tensor is not None and tensor.ndim == 4


def _differences(
  expected: Mapping[str, tuple[int, ...] | None], tensors: Mapping[str, np.ndarray]
) -> list[str]:
  """Returns a phrase for each tensor that is not as expected; a None in a shape is any size."""
  problems = [f"{name} is missing" for name in expected if name not in tensors]
  for name, tensor in tensors.items():
    if name not in expected:
      problems.append(f"{name} is none of its tensors")
      continue
    shape = expected[name]
    if shape is None or len(shape) != tensor.ndim:
      problems.append(f"{name} has the shape {tensor.shape}")
    elif any(want not in (None, size) for want, size in zip(shape, tensor.shape, strict=True)):
      sizes = ", ".join("any" if want is None else str(want) for want in shape)
      problems.append(f"{name} has the shape {tensor.shape} where ({sizes}) is expected")
  return problems
