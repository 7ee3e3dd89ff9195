"""A predictor as a SavedModel: encoded images in, posteriors and labels out.

Decoding and preprocessing are in the graph, the class names too; nothing of vggtf is needed to load
and serve it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

from vggtf import contracts, errors, images

_TOP = 5


class _Served(tf.Module):
  """What is saved: the net's variables, the label table and the function that answers."""

  def __init__(
    self, model: contracts.Model, predictor: contracts.Predictor, labels: tuple[str, ...]
  ):
    super().__init__()
    self._model = model  # owns the variables
    self._predictor = predictor
    self._labels = tf.constant(labels)

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "images")])
  def classify(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
    if self._predictor.fixed_size:
      spec = tf.nest.map_structure(
        lambda view: tf.TensorSpec(view.shape, view.dtype),
        tf.function(self._prepare)
        .get_concrete_function(tf.TensorSpec([], tf.string))
        .structured_outputs,
      )
      probabilities = tf.cond(  # of no image, oneDNN's convolutions are an error
        tf.size(encoded) > 0,
        lambda: self._predictor(tf.map_fn(self._prepare, encoded, fn_output_signature=spec)),
        lambda: tf.zeros([0, len(self._labels)]),
      )
    else:  # views of images differ in size: one at a time
      probabilities = tf.map_fn(
        lambda image: self._predictor(
          tf.nest.map_structure(lambda view: view[tf.newaxis], self._prepare(image))
        )[0],
        encoded,
        fn_output_signature=tf.TensorSpec([len(self._labels)], tf.float32),
      )
    classes = tf.math.top_k(probabilities, min(_TOP, len(self._labels))).indices
    return {
      "probabilities": probabilities,
      "classes": classes,
      "labels": tf.gather(self._labels, classes),
    }

  def _prepare(self, encoded: tf.Tensor):
    return self._predictor.prepare(images.decode(encoded))


def export(
  folder: Path,
  model: contracts.Model,
  predictor: contracts.Predictor,
  labels: tuple[str, ...],
  version: int,
) -> Path:
  """Writes `<folder>/<predictor>/<version>`, published by a rename that servers see at once.

  Its serving_default takes `images`, string [N], encoded JPEG or PNG, and returns `probabilities`,
  float32 [N, classes], `classes`, int32 [N, 5], the most probable ones, and `labels`, their names.

  Args:
    folder: of all exports of a run.
    model: the net, restored.
    predictor: what was measured, around that net.
    labels: class names in label order.
    version: TF Serving's; the step of the checkpoint.

  Returns:
    The SavedModel's folder.

  Raises:
    UsageError: this version was exported before.
  """
  final = folder / predictor.name / str(version)
  if final.exists():
    raise errors.UsageError(
      f"{final} exists: this checkpoint was exported already; delete that folder to export it again"
    )
  served = _Served(model, predictor, labels)
  # Servers take a folder for a version when its name is a number.
  aside = final.with_name(f".writing-{version}")
  shutil.rmtree(aside, ignore_errors=True)
  tf.saved_model.save(served, str(aside), signatures={"serving_default": served.classify})
  aside.rename(final)
  return final
