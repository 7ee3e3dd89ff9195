"""A checkpoint's values into variables, and what differs where they do not fit."""

from __future__ import annotations

import hashlib

import tensorflow as tf

from vggtf import errors

_SHAPES = "other shapes:"
_VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"  # how tf.train.Checkpoint ends a variable's name


def restore(state: tf.train.Checkpoint, prefix: str, whole: bool = True) -> None:
  """Reads a checkpoint into `state`.

  Args:
    state: what to fill; each of its variables must be in the checkpoint.
    prefix: `Checkpoints.prefix`.
    whole: whether the checkpoint must hold nothing else; False for a model without its optimizer.

  Raises:
    IntegrityError: the checkpoint is of another net or optimizer.
  """
  differences = _differences(state, prefix, whole)
  if _SHAPES in differences:  # TensorFlow would stop amid it
    raise _other(prefix, differences)
  status = state.read(prefix)
  try:
    if whole:
      status.assert_consumed()
    else:
      status.assert_existing_objects_matched().expect_partial()
  except AssertionError as error:
    status.expect_partial()  # or TensorFlow tells of each variable when this is gone
    said = {"TensorFlow says": [" ".join(str(error).split())[:400]]}
    raise _other(prefix, differences or said) from error


def _other(prefix: str, differences: dict[str, list[str]]) -> errors.IntegrityError:
  told = "; ".join(
    f"{kind} {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    for kind, names in differences.items()
  )
  return errors.IntegrityError(
    f"{prefix} is of another configuration than this run's: {told}; give the configuration that it "
    "was trained with, or none with its --workdir, where it is kept"
  )


def _differences(state: tf.train.Checkpoint, prefix: str, whole: bool) -> dict[str, list[str]]:
  """Returns which variables a checkpoint lacks, has besides (if `whole`) or has in other shapes.

  What differs is the key, names are the value. Slots of Keras's optimizers count as besides.
  """
  found = {
    name.removesuffix(_VARIABLE): tuple(shape)
    for name, shape in tf.train.list_variables(prefix)
    if name.endswith(_VARIABLE)
  }
  ours = named_variables(state)
  shapes = [
    f"{name} {found[name]} for {tuple(ours[name].shape)}"
    for name in sorted(found.keys() & ours.keys())
    if found[name] != tuple(ours[name].shape)
  ]
  kinds = {
    "it lacks": sorted(ours.keys() - found.keys()),
    "it has besides": sorted(found.keys() - ours.keys()) if whole else [],
    _SHAPES: shapes,
  }
  return {kind: names for kind, names in kinds.items() if names}


def digest(prefix: str) -> str:
  """Returns the sha256 of all variables in a checkpoint: names, types, shapes and bits."""
  reader, found = tf.train.load_checkpoint(prefix), hashlib.sha256()
  for name in sorted(reader.get_variable_to_shape_map()):
    if name.endswith(_VARIABLE):
      value = reader.get_tensor(name)
      found.update(f"{name} {value.dtype} {value.shape}\0".encode())
      found.update(value.tobytes())
  return found.hexdigest()


def named_variables(state: tf.train.Checkpoint) -> dict[str, tf.Variable]:
  """Returns the variables by their shortest paths, which is how checkpoints name them."""
  nodes, seen, variables = [("", state)], {id(state)}, {}
  for path, node in nodes:
    for name, child in tf.train.TrackableView.children(node).items():
      if id(child) not in seen:
        seen.add(id(child))
        nodes.append((f"{path}{name}/", child))
        if isinstance(child, tf.Variable):
          variables[f"{path}{name}"] = child
  return variables
