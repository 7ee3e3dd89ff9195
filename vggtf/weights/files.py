"""Which format a path is of: by its content where there is some, by its name where there is not."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vggtf import errors
from vggtf.weights import (
  caffe_file,
  canonical,
  checkpoints,
  keras_file,
  notes,
  npz,
  onnx_file,
  preprocessing,
  safetensors_file,
  slim_file,
  state_dict,
  torch_file,
)


class _Format(NamedTuple):
  """How a format is read: its tensors, canonical but for their colours, and the facts it keeps.

  how: the custom of those who use it, where nothing else says.
  vgg: whether only VGG nets have a form in it.
  """

  read: Callable[[Path], tuple[dict[str, np.ndarray], dict[str, Any]]]
  how: preprocessing.Preprocessing = preprocessing.RGB
  vgg: bool = True


def _read_torch(path: Path, state: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
  tensors, lrn = state_dict.read(state, str(path))
  return tensors, {"lrn_form": "alexnet"} if lrn else {}


def _read_slim(path: Path) -> tuple[dict, dict]:
  tensors, mean = slim_file.read(slim_file.prefix(path))
  return tensors, {"mean_rgb": mean} if mean else {}


_NPZ = _Format(lambda path: (npz.read(path), {}), vgg=False)
_KERAS = _Format(lambda path: (keras_file.read(path), {}), preprocessing.BGR)
_TORCH = _Format(lambda path: _read_torch(path, torch_file.read(path)), preprocessing.TORCHVISION)
_SAFETENSORS = _TORCH._replace(
  read=lambda path: _read_torch(path, safetensors_file.read(path)),
)
_CAFFE = _Format(caffe_file.read, preprocessing.BGR)
_SLIM = _Format(_read_slim)


def read(
  path: str | Path, which: str = "raw", choice: str = "latest", how: str | None = None
) -> canonical.Weights:
  """Returns the weights that a file or a run's folder holds, in canonical form.

  Args:
    path: of any format that is known, or a run's folder.
    which: of a run: "raw" weights, or "ema", their moving averages.
    choice: of a run: the "latest" checkpoint or the "best".
    how: a key of `preprocessing.KNOWN`, what a file's net does to pixels, where neither the note
      beside it nor the custom of its format is right.

  Raises:
    UsageError: there is no such path, or nothing in it is known.
    IntegrityError: it is damaged, or holds what it should not.
  """
  path = Path(path)
  if path.is_dir():
    return checkpoints.read_run(path, which, choice)
  if which != "raw":
    raise errors.UsageError(f"which = {which!r} is for a run's folder, which {path} is not")
  kind = _recognize(path)
  tensors, found = kind.read(path)
  note = notes.read(path)
  facts, custom = note or (canonical.Facts(), kind.how)
  if note is None:
    facts = dataclasses.replace(facts, **{"mean_rgb": custom.mean_rgb, **found})
  if how is not None:
    custom = errors.choose("preprocessing", how, preprocessing.KNOWN)
    facts = dataclasses.replace(facts, mean_rgb=custom.mean_rgb)
  if kind.vgg:
    canonical.describe(tensors, str(path))
  if preprocessing.FIRST in tensors:
    tensors = preprocessing.fold(tensors, custom)
  return canonical.Weights(tensors, facts)


class _Target(NamedTuple):
  """How a format is written, and what it cannot hold.

  order: of colours, what its users' code gives to a net.
  others: what else it writes.
  """

  write: Callable[[Path, Mapping[str, np.ndarray], canonical.Net, canonical.Facts, str], None]
  order: str = "RGB"
  norms: tuple[str | None, ...] = tuple(canonical.NORMS)
  lrn: bool = True
  others: Callable[[Path], list[Path]] = lambda path: []


def _write_torch(write: Callable) -> Callable:
  return lambda path, tensors, net, facts, layout: write(
    path, state_dict.write(tensors, net, facts.lrn_form is not None, layout)
  )


# By suffix, the longer ones first.
_TARGETS = {
  ".weights.h5": _Target(
    lambda path, tensors, net, *_: keras_file.write_weights(path, tensors, net),
    "BGR", (None,), False,
  ),
  ".h5": _Target(
    lambda path, tensors, net, *_: keras_file.write_application(path, tensors, net),
    "BGR", (None,), False,
  ),
  ".keras": _Target(
    lambda path, tensors, net, facts, _: keras_file.write_model(path, tensors, net, facts),
    "BGR", (None,), False,
  ),
  ".safetensors": _Target(_write_torch(safetensors_file.write)),
  ".pth": _Target(_write_torch(torch_file.write)),
  ".pt": _Target(_write_torch(torch_file.write)),
  ".caffemodel": _Target(
    lambda path, tensors, net, facts, _: caffe_file.write(path, tensors, net, facts),
    "BGR", (None, "batch"), others=lambda path: [caffe_file.prototxt(path)],
  ),
  ".onnx": _Target(
    lambda path, tensors, net, facts, _: onnx_file.write(path, tensors, net, facts)
  ),
}  # fmt: skip


def is_file(target: str | Path) -> bool:
  """Returns whether a target names a file; without a suffix it names a run's folder.

  Raises:
    UsageError: its suffix is of no format.
  """
  name = Path(target).name
  if name.endswith((".npz", *_TARGETS)):
    return True
  if suffix := Path(target).suffix:
    known = ", ".join([".npz", *_TARGETS])
    raise errors.UsageError(
      f"no format has the suffix {suffix}: take one of {known}, or a folder's name without a dot"
    )
  return False


def write(path: str | Path, weights: canonical.Weights, layout: str = "torchvision") -> None:
  """Writes weights as what the path's suffix says, and a note beside them.

  Args:
    path: where; nothing may be there yet, nor where what lies beside it will be.
    weights: of a VGG; of any net for .npz.
    layout: a key of `state_dict.LAYOUTS`, names in PyTorch's formats.

  Raises:
    UsageError: there is something, the suffix is unknown, or the format cannot hold such a net.
    IntegrityError: the tensors are not those of a whole VGG.
  """
  path = Path(path)
  if not is_file(path):
    raise errors.UsageError(f"{path} has no suffix, which would say the format")
  if path.name.endswith(".npz"):
    with _aside(path, notes.paths(path)) as aside:
      npz.write(aside, weights.tensors)
      notes.write(aside, None, weights.facts, preprocessing.RGB)
    return
  suffix = next(one for one in _TARGETS if path.name.endswith(one))
  target = _TARGETS[suffix]
  net = canonical.describe(weights.tensors, "the source")
  if net.norm not in target.norms:
    raise errors.UsageError(f"{suffix} has no {net.norm} norm; take .safetensors, .onnx or .npz")
  if weights.facts.lrn_form and not target.lrn:
    raise errors.UsageError(
      f"{suffix} has no LRN, which net A-LRN needs; take .caffemodel or .onnx"
    )
  size = weights.facts.input_size or canonical.native_size(weights.tensors)
  facts = dataclasses.replace(weights.facts, input_size=size)
  with _aside(path, notes.paths(path) + target.others(path)) as aside:
    tensors = preprocessing.unfold(weights.tensors, target.order)
    target.write(aside, tensors, net, facts, layout)
    how = preprocessing.Preprocessing(facts.mean_rgb, order=target.order)
    notes.write(aside, net, facts, how)


def _recognize(path: Path) -> _Format:
  """Returns the format of a file by what is in it.

  Raises:
    UsageError: there is no file, or it is of no format that can be read.
    IntegrityError: it is cut short.
  """
  if slim_file.prefix(path):
    return _SLIM
  if not path.is_file():
    raise errors.UsageError(f"there are no weights at {path}")
  with open(path, "rb") as file:
    head = file.read(16)
  if zipfile.is_zipfile(path):
    with (
      contextlib.suppress(zipfile.BadZipFile, NotImplementedError, ValueError),
      zipfile.ZipFile(path) as archive,
    ):
      names = archive.namelist()
      if any(name.endswith("/data.pkl") for name in names):
        return _TORCH
      if keras_file.INNER in names:
        return _KERAS
      if names and all(name.endswith(".npy") for name in names):
        return _NPZ
  elif head.startswith(b"PK\x03\x04"):
    raise errors.IntegrityError(
      f"{path} is damaged or cut short: it begins as a zip archive (.npz, .pth, .keras) and does "
      "not end as one; fetch it again"
    )
  elif head.startswith(keras_file.HDF5):
    return _KERAS
  elif head.startswith(torch_file.LEGACY):
    return _TORCH
  elif head[8:9] == b"{":
    return _SAFETENSORS
  elif head and caffe_file.is_one(path):
    return _CAFFE
  raise errors.UsageError(
    f"{path} begins with {head[:8]!r}, which no format does that can be read: expected are NumPy's "
    ".npz, Keras's .h5 and .keras, PyTorch's .pth and .safetensors, a .caffemodel, a checkpoint of "
    "TF-Slim, or a run's folder"
  )


@contextlib.contextmanager
def _aside(path: Path, others: list[Path]) -> Iterator[Path]:
  """Yields a path to write to, with this name; at the end it and the others are moved in place.

  Raises:
    UsageError: something is there; nothing was written.
  """
  if taken := ", ".join(str(one) for one in (path, *others) if one.exists()):
    raise errors.UsageError(f"{taken} exists; delete it, or take another --target")
  folder = path.parent / f".writing-{path.name}-{os.getpid()}"
  folder.mkdir(parents=True)
  try:
    yield folder / path.name
    for one in [*others, path]:  # the weights come last: their note is there then
      if (folder / one.name).exists():
        os.replace(folder / one.name, one)
  finally:
    shutil.rmtree(folder, ignore_errors=True)
