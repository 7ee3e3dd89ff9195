"""Our own checkpoints: a run's folder, or TensorFlow's file prefix inside of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np

from vggtf import errors, workdir
from vggtf.weights import canonical

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# What the names of these begin with in a checkpoint.
_STARTS = {"raw": "model/", "ema": "averaging/"}
_CHANNELS, _HIDDEN = (64, 128, 256, 512, 512), 4096  # table 1
_HEAD = """from __gin__ import dynamic_registration

include "gin/base/imagenet.gin"

from vggtf.models import vgg
from vggtf.predictors import centre
from vggtf.predictors import dense
"""


def read_run(folder: Path, which: str = "raw", choice: str = "latest") -> canonical.Weights:
  """Returns the weights of a run's newest sound checkpoint.

  Args:
    folder: a run's.
    which: "raw", or "ema": the moving averages, where the run kept them.
    choice: "latest" or "best".

  Raises:
    UsageError: nothing was trained there, or no averages were kept.
  """
  start = errors.choose("which", which, _STARTS)
  from vggtf.training import checkpoint  # TensorFlow takes seconds, and other formats need it not

  run = workdir.Workdir(str(folder))
  facts = run.read_facts()
  checkpoints = checkpoint.Checkpoints(run.checkpoints)
  tensors, _ = checkpoints.read(choice, lambda prefix: _tensors(prefix, start))
  options = _options(run)
  return canonical.Weights(
    tensors,
    canonical.Facts(
      mean_rgb=tuple(facts.mean_rgb),
      labels=facts.labels,
      pool_rounding=options.get("pool_rounding", "floor"),
      lrn_form=options.get("lrn_form", "alexnet") if options.get("config") == "A-LRN" else None,
      input_size=options.get("input_size"),
    ),
  )


def write_run(folder: Path, weights: canonical.Weights, data_dir: str) -> None:
  """Writes a run's folder with a checkpoint of step 0, for evaluation, export and fine-tuning.

  Args:
    folder: where; nothing may be there yet.
    weights: of a whole VGG, with labels.
    data_dir: a data set of its classes; empty where there is none.

  Raises:
    UsageError: there is something, or the net is none that vggtf/models/vgg.py makes.
    IntegrityError: the tensors are not those of a whole VGG.
  """
  if folder.exists() and any(folder.iterdir()):
    raise errors.UsageError(f"{folder} is not empty; take another --target")
  net = canonical.describe(weights.tensors, "the source")
  if not net.top:
    raise errors.UsageError(
      "a run's net classifies, and the source has no fc6, fc7 and fc8: take it as first weights of "
      "a training (train.run.initial), or write a file"
    )
  configuration = _configuration(weights, net)
  save(folder, configuration, weights, data_dir, _tree(weights))


def save(folder: Path, configuration: str, weights: canonical.Weights, data_dir: str, net) -> None:
  """Writes a run's folder: configuration, facts, and the net, a tf.Module, as step 0."""
  import tensorflow as tf

  from vggtf.training import checkpoint

  run = workdir.Workdir(str(folder))
  facts = workdir.RunFacts(
    labels=weights.facts.labels,
    mean_rgb=weights.facts.mean_rgb,
    data_dir=data_dir,
    manifest_sha256="",
    splits={},
    rejected={},
  )
  checkpoint.Checkpoints(run.checkpoints).save(tf.train.Checkpoint(model=net), 0)
  run.write_facts(facts)
  workdir.write_text(run.config, configuration)


def _tree(weights: canonical.Weights):
  """Returns modules that a checkpoint sees as it sees vggtf/models/vgg.py."""
  import tensorflow as tf

  kinds: dict[str, dict[str, tf.Module]] = {"layers": {}, "norms": {}}
  for name, tensor in weights.tensors.items():
    layer, part = name.split("/")
    kind = kinds["norms" if layer.startswith("norm") else "layers"]
    module = kind.setdefault(layer.replace("norm", "conv"), tf.Module())
    setattr(module, part, tf.Variable(tensor, name=name))
  root = tf.Module()
  root.layers, root.norms = kinds["layers"], kinds["norms"]
  root.mean_rgb = tf.Variable(weights.facts.mean_rgb, dtype=tf.float32, name="mean_rgb")
  return root


def _configuration(weights: canonical.Weights, net: canonical.Net) -> str:
  """Returns the gin file of the net: the paper's recipe, and what differs."""
  facts = weights.facts
  size = facts.input_size or canonical.native_size(weights.tensors)
  scale = round(size * 256 / 224)  # section 3.2's Q for the net's side
  options = {
    "vgg.VGG.config": "A-LRN" if facts.lrn_form else net.config,
    "vgg.VGG.input_size": size,
    "vgg.VGG.width": _width(weights, net),
    "vgg.VGG.norm": net.norm,
    "vgg.VGG.pool_rounding": facts.pool_rounding,
    **({"vgg.VGG.lrn_form": facts.lrn_form} if facts.lrn_form else {}),
    "centre.Centre.scale": scale,
    "dense.Dense.scale": scale,
  }
  bindings = "".join(f"{name} = {value!r}\n" for name, value in options.items())
  return f"{_HEAD}\nMODEL = @vgg.VGG\n{bindings}"


def _width(weights: canonical.Weights, net: canonical.Net) -> float:
  """Returns the multiplier of the paper's channels that gives the net's."""
  paper = dict(zip([block[0] for block in net.blocks], _CHANNELS, strict=True)) | {"fc6": _HIDDEN}
  own = {name: weights.tensors[f"{name}/biases"].size for name in paper}
  for name in reversed(paper):
    width = own[name] / paper[name]
    if all(own[name] == max(1, round(paper[name] * width)) for name in paper):
      return width
  channels = ", ".join(f"{name} {count}" for name, count in own.items())
  raise errors.UsageError(
    f"the channels {channels} are no multiple of the paper's, which is all that VGG.width can say; "
    "write a file instead of a run's folder"
  )


def _tensors(prefix: str, start: str) -> dict[str, np.ndarray]:
  """Returns the model's tensors by the names of its variables."""
  import tensorflow as tf
  from tensorflow.core.protobuf import trackable_object_graph_pb2

  reader = tf.train.load_checkpoint(prefix)
  graph = trackable_object_graph_pb2.TrackableObjectGraph()
  graph.ParseFromString(reader.get_tensor(_GRAPH))
  names = {
    saved.checkpoint_key: saved.full_name for node in graph.nodes for saved in node.attributes
  }
  tensors = {
    name.removeprefix(start): reader.get_tensor(key)
    for key, name in names.items()
    if key.startswith(start) and not name.endswith("mean_rgb")
  }
  if not tensors:
    raise errors.UsageError(f"{prefix} holds no averages of the weights; take which = 'raw'")
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
