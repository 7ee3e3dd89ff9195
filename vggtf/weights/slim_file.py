"""TF-Slim's checkpoints, in only: vgg_a.ckpt, vgg_16.ckpt and vgg_19.ckpt, of either version."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vggtf import errors
from vggtf.weights import canonical

_TABLE_END = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # of version 1, a LevelDB table
_SCOPE = r"vgg_(?:a|16|19)/"
_BESIDE = re.compile(rf"global_step|{_SCOPE}mean_rgb")


def prefix(path: Path) -> str | None:
  """Returns what TensorFlow's reader takes, None where there is no checkpoint.

  Version 2 is several files of which the given path is the common beginning, or one; version 1 is
  one file that ends as LevelDB's tables do.
  """
  bare = str(path).removesuffix(".index")
  if Path(f"{bare}.index").is_file():
    return bare
  if not path.is_file():
    return None
  with open(path, "rb") as file:
    file.seek(-min(len(_TABLE_END), path.stat().st_size), 2)
    return str(path) if file.read() == _TABLE_END else None


def read(path: str) -> tuple[dict[str, np.ndarray], tuple[float, ...] | None]:
  """Returns canonical tensors, and the mean RGB if the checkpoint keeps one.

  Raises:
    IntegrityError: it is damaged, or no VGG of TF-Slim; all differences are listed.
  """
  import tensorflow as tf

  try:
    reader = tf.train.load_checkpoint(path)
    found = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
  except (tf.errors.OpError, ValueError, RuntimeError, LookupError) as error:
    raise errors.IntegrityError(f"{path} cannot be read as a checkpoint: {error}") from error
  mean = next((one for name, one in found.items() if name.endswith("/mean_rgb")), None)
  found = {name: tensor for name, tensor in found.items() if not _BESIDE.fullmatch(name)}
  names = {
    name: f"{match[1]}/{match[2]}"
    for name in found
    if (match := re.fullmatch(rf"{_SCOPE}(?:conv\d/)?(conv\d_\d|fc\d)/(weights|biases)", name))
  }
  tensors = canonical.rename(found, names, lambda name, tensor: tensor, path)
  return tensors, None if mean is None else tuple(float(level) for level in mean)
