"""Our own checkpoints: a run's folder, or TensorFlow's file prefix inside of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np

from vggtf import errors, workdir
from vggtf.weights import canonical

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_RAW, _EMA = "model/", "averaging/"
_WHICH = ("raw", "ema")


def read_run(folder: Path, which: str = "raw", choice: str = "latest") -> canonical.Weights:
  """Returns the weights of a run's newest sound checkpoint.

  Args:
    folder: a run's.
    which: "raw", or "ema": the moving averages, where the run kept them.
    choice: "latest" or "best".

  Raises:
    UsageError: nothing was trained there, or no averages were kept.
  """
  if which not in _WHICH:
    raise errors.UsageError(f"weights = {which!r} is unknown: choose one of {', '.join(_WHICH)}")
  from vggtf.training import checkpoint  # TensorFlow takes seconds, and other formats need it not

  run = workdir.Workdir(str(folder))
  facts = run.read_facts()
  checkpoints = checkpoint.Checkpoints(run.checkpoints)
  prefix = checkpoints.prefix(checkpoints.find(choice))
  options = _options(run)
  return canonical.Weights(
    _tensors(prefix, which),
    canonical.Facts(
      mean_rgb=tuple(facts.mean_rgb),
      labels=facts.labels,
      pool_rounding=options.get("pool_rounding", "floor"),
      lrn_form=options.get("lrn_form", "alexnet") if options.get("config") == "A-LRN" else None,
      input_size=options.get("input_size"),
    ),
  )


def _tensors(prefix: str, which: str) -> dict[str, np.ndarray]:
  """Returns the model's tensors by the names of its variables."""
  import tensorflow as tf
  from tensorflow.core.protobuf import trackable_object_graph_pb2

  reader = tf.train.load_checkpoint(prefix)
  graph = trackable_object_graph_pb2.TrackableObjectGraph()
  graph.ParseFromString(reader.get_tensor(_GRAPH))
  names = {
    saved.checkpoint_key: saved.full_name for node in graph.nodes for saved in node.attributes
  }
  start = {"raw": _RAW, "ema": _EMA}[which]
  tensors = {
    name: reader.get_tensor(key)
    for key, name in names.items()
    if key.startswith(start) and name != "mean_rgb"
  }
  if not tensors:
    raise errors.UsageError(f"{prefix} holds no averages of the weights; take weights = 'raw'")
  return tensors


def _options(run: workdir.Workdir) -> dict:
  """Returns the arguments of the net that the run's configuration binds."""
  options = {}
  for file in (run.config, run.operative_config):  # the second has the defaults too
    text = file.read_text() if file.exists() else ""
    for name, value in re.findall(r"^(?:[\w.]+\.)?VGG\.(\w+) = (.+)$", text, re.M):
      try:
        options[name] = ast.literal_eval(value)
      except (ValueError, SyntaxError):  # a reference or a macro; none of what is looked for here
        continue
  return options
