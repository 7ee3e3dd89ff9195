"""PyTorch's names: those of torchvision's vgg11 ... vgg19 and their _bn, and those of timm.

A net's layers before fc6 are numbered, ReLUs and poolings included, so that the numbers say which
net it is. A-LRN, which neither library has, is numbered by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from vggtf import errors
from vggtf.weights import canonical

LAYOUTS = {
  "torchvision": ("classifier.0", "classifier.3", "classifier.6"),
  "timm": ("pre_logits.fc1", "pre_logits.fc2", "head.fc"),
}
_COUNTER = "num_batches_tracked"  # of PyTorch's batch norm, which does not need it
_PARTS = {
  "scale": "weight",
  "offset": "bias",
  "moving_mean": "running_mean",
  "moving_variance": "running_var",
}


def read(state: Mapping[str, np.ndarray], where: str) -> tuple[dict[str, np.ndarray], bool]:
  """Returns canonical tensors, and whether the net has an LRN.

  Raises:
    IntegrityError: it is none of the nets; the differences to the nearest are listed.
  """
  state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
  state = {name: one for name, one in state.items() if not name.endswith(f".{_COUNTER}")}

  def distance(candidate) -> int:
    names, net, _ = candidate
    sides = [side for block in canonical.CONFIGS[net.config] for side in block]
    kernels = [state.get(name) for name, to in names.items() if to.endswith("/weights")]
    wrong = sum(
      one is not None and one.shape[2:] != (side, side)
      for one, side in zip(kernels, sides, strict=False)
    )
    return len(names.keys() ^ state.keys()) + wrong

  names, net, lrn = min(_candidates(), key=distance)
  last = state.get(
    next(name for name, to in names.items() if to == f"{net.convolutions[-1]}/weights")
  )
  channels = len(last) if last is not None else 1
  tensors = canonical.rename(
    state, names, lambda name, tensor: canonical.from_rows(name, tensor, channels), where
  )
  return tensors, lrn


def write(
  tensors: Mapping[str, np.ndarray], net: canonical.Net, lrn: bool, layout: str
) -> dict[str, np.ndarray]:
  """Returns the tensors under PyTorch's names, in its axes.

  Raises:
    UsageError: there is no such layout.
  """
  errors.choose("layout", layout, LAYOUTS)
  state = {}
  for name, own in _names(net, lrn, layout).items():
    tensor = tensors[own]
    if own.endswith("/weights"):
      flat = own.startswith("fc") and (layout == "torchvision" or own.startswith("fc8"))
      tensor = canonical.to_rows(tensor, flat)
    state[name] = tensor
    if own.endswith("/moving_variance"):
      state[name.replace(_PARTS["moving_variance"], _COUNTER)] = np.zeros((), np.int64)
  return state


def _candidates() -> Iterator[tuple[dict[str, str], canonical.Net, bool]]:
  """Yields the names that each net would have."""
  for config in canonical.CONFIGS:
    for lrn in (False, True) if config == "A" else (False,):
      for norm in canonical.NORMS:
        for layout, top in (("torchvision", canonical.TOP), ("timm", canonical.TOP), ("timm", ())):
          net = canonical.Net(config, top, norm)
          yield _names(net, lrn, layout), net, lrn


def _names(net: canonical.Net, lrn: bool, layout: str) -> dict[str, str]:
  """Returns the canonical names by PyTorch's."""
  names, place = {}, 0
  for block in net.blocks:
    for convolution in block:
      names |= _pair(f"features.{place}", convolution)
      if net.norm:
        place += 1
        names |= {
          f"features.{place}.{_PARTS[part]}": f"{canonical.norm_name(convolution)}/{part}"
          for part in canonical.NORMS[net.norm]
        }
      place += 2  # its ReLU is a layer too
    place += 1 + (lrn and block == net.blocks[0])
  for name, layer in zip(LAYOUTS[layout], net.top, strict=False):
    names |= _pair(name, layer)
  return names


def _pair(name: str, layer: str) -> dict[str, str]:
  return {f"{name}.weight": f"{layer}/weights", f"{name}.bias": f"{layer}/biases"}
