"""A SavedModel whose weights are constants of its graph, for tools that know no variables.

They are for one signature: TensorFlow copies a graph's constants several times for each that it
loads (docs/serving.md). A graph is a protobuf message, of 2 GB at most.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from vggtf import errors

SIGNATURE = "serving_default"
_LARGE = 1024  # elements; a smaller constant is no weight, or is not worth a cast
_MOST_BYTES = 2**31 - 1


def round_weights(variables: Iterable[tf.Variable], storage: tf.DType) -> None:
  """Gives variables the values that `freeze` will store, so that the net is the one exported."""
  for variable in variables:
    if variable.dtype == tf.float32 and variable.shape.num_elements() >= _LARGE:
      variable.assign(tf.cast(tf.cast(variable, storage), tf.float32))


def freeze(folder: Path, storage: tf.DType) -> None:
  """Turns the variables of a SavedModel into constants, in place.

  Args:
    folder: the SavedModel's.
    storage: bfloat16 stores weights in half the space; they are cast at every request.

  Raises:
    UsageError: the graph would be larger than 2 GB.
  """
  path = folder / "saved_model.pb"
  saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
  (meta,) = saved.meta_graphs
  for name in meta.signature_def.keys() - {SIGNATURE}:
    del meta.signature_def[name]  # how a graph is initialised; nothing is left to be
  meta.graph_def.CopyFrom(_replace_variables(folder, meta.signature_def[SIGNATURE]))
  if storage != tf.float32:
    _store_as(meta.graph_def, storage)
  for field in ("saver_def", "collection_def", "object_graph_def", "asset_file_def"):
    meta.ClearField(field)  # they speak of variables
  if saved.ByteSize() > _MOST_BYTES:
    raise errors.UsageError(
      f"a frozen graph of {saved.ByteSize():,} bytes is larger than protobuf's 2 GB; export with "
      "export.run.form = 'variables'"
    )
  path.write_bytes(saved.SerializeToString(deterministic=True))
  shutil.rmtree(folder / "variables")
  (folder / "fingerprint.pb").unlink()  # of the file before that; SHA256SUMS takes its place


def _replace_variables(
  folder: Path, signature: meta_graph_pb2.SignatureDef
) -> tf.compat.v1.GraphDef:
  """Returns what the answers of a SavedModel are computed from, with constants for variables."""
  answers = {info.name.partition(":")[0] for info in signature.outputs.values()}
  with _quiet(), tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
    tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], str(folder))
    texts = [
      node.name
      for node in graph.as_graph_def().node
      if node.op == "VarHandleOp" and node.attr["dtype"].type == tf.string.as_datatype_enum
    ]
    frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
      session, graph.as_graph_def(), sorted(answers), variable_names_blacklist=texts
    )
  for function in frozen.library.function:
    for node in function.node_def:  # loops still claim the shapes of handles
      node.attr.pop("_output_shapes", None)
  return frozen


def _store_as(graph: tf.compat.v1.GraphDef, storage: tf.DType) -> None:
  """Stores large float32 constants in another type, and casts them back."""
  for node in list(graph.node):
    if node.op != "Const" or node.attr["dtype"].type != tf.float32.as_datatype_enum:
      continue
    values = tf.make_ndarray(node.attr["value"].tensor)
    if values.size < _LARGE:
      continue
    stored = graph.node.add(name=f"{node.name}/stored", op="Const", device=node.device)
    stored.attr["dtype"].type = storage.as_datatype_enum
    narrow = values.astype(np.dtype(storage.as_numpy_dtype))
    stored.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(narrow))
    node.op = "Cast"
    node.ClearField("attr")
    node.attr["SrcT"].type = storage.as_datatype_enum
    node.attr["DstT"].type = tf.float32.as_datatype_enum
    node.input.append(stored.name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Hides that these functions are TensorFlow 1's: version 2 has none for this."""
  log = tf.get_logger()
  level = log.level
  log.setLevel(logging.ERROR)
  try:
    yield
  finally:
    log.setLevel(level)
