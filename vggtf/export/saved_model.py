"""A predictor as a SavedModel: encoded images in, posteriors and labels out.

Decoding and preprocessing are in the graph, the class names too; nothing of vggtf is needed to load
and serve it. It is published only if it answers as the predictor itself does.
"""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.export import answers, frozen, golden, integrity, publication, server_files, timing
from vggtf.export.limits import Limits
from vggtf.export.served import Served

_log = logging.getLogger(__name__)

VARIABLES = "variables"
# How weights are stored: as TensorFlow's variables, or as constants of the graph in some type.
FORMS = {VARIABLES: None, "frozen": tf.float32, "frozen_bfloat16": tf.bfloat16}
BATCHING = "batching_params.pbtxt"  # where servers look, in the version's folder
_CLASSIFY = "tensorflow/serving/classify"


def export(
  base: str | Path,
  model: contracts.Model,
  predictor: contracts.Predictor,
  labels: Sequence[str],
  version: int,
  origin: dict[str, Any] | None = None,
  form: str = VARIABLES,
  limits: Limits | None = None,
  tolerance: float = 1e-5,
  overwrite: bool = False,
) -> str:
  """Writes `<base>/<predictor>/<version>`, and `<base>/models.config`.

  `Served.signatures` says what it answers. With it go golden requests, batching parameters made
  from its latencies, and the sha256 of every file.

  Args:
    base: folder of all exports of a run, local or remote.
    model: the net, restored. "frozen_bfloat16" rounds the weights of its predictor.
    predictor: what was measured, around that net.
    labels: class names in label order.
    version: TF Serving's; the step of the checkpoint.
    origin: what is known of where it comes from; kept with it.
    form: a key of `FORMS`.
    limits: of a request; those of `Limits` if None.
    tolerance: by how much an answer may differ from the predictor's own.
    overwrite: whether this version may be replaced.

  Returns:
    The SavedModel's folder.

  Raises:
    UsageError: this version was exported before, or an option has no such value.
    EnvironmentFault: there is no room, no permission, or no such file system.
    IntegrityError: it does not answer as the predictor does; nothing is published.
  """
  storage = errors.choose("export.run.form", form, FORMS)
  base = str(base).rstrip("/")  # to a bucket out//dense is another folder than out/dense
  folder = f"{base}/{predictor.name}/{version}"
  publication.check_free(folder, overwrite)
  limits = limits or Limits()
  with publication.beside(folder) as aside:
    served = Served(model, predictor, labels, limits)
    signatures = served.signatures()
    if storage:
      signatures = {frozen.SIGNATURE: signatures[frozen.SIGNATURE]}
    record = functools.partial(golden.record, model, predictor, labels, signatures, limits)
    exact = record()
    if storage == tf.bfloat16:
      frozen.round_weights(served.weights, storage)
    logs = record() if storage == tf.bfloat16 else exact
    _save(aside, served, signatures)
    if storage:
      frozen.freeze(aside, storage)
    loaded = tf.saved_model.load(str(aside)).signatures
    _log.info("it answers as the net does, within %.1g", answers.check(loaded, logs, tolerance))
    if storage == tf.bfloat16:
      moved = answers.check(loaded, exact, tolerance=float("inf"))
      _log.info("rounding its weights to bfloat16 moved answers by %.1g", moved)
    golden.write(aside, logs)
    latencies = timing.measure(loaded["serving_default"], golden.first_file(logs), limits.images)
    _log.info("a request takes %s images", ", ".join(map(str, latencies)))
    (aside / BATCHING).write_text(timing.write_batching(latencies, limits.images))
    integrity.seal(aside, (origin or {}) | {"form": form, "tolerance": tolerance})
    _log.info("%s MB on disk", f"{integrity.size(aside) / 1e6:,.1f}")
    publication.publish(aside, folder, overwrite)
  server_files.write(base)
  return folder


def _save(folder: Path, served: Served, signatures: Mapping[str, Callable]) -> None:
  """Writes a SavedModel."""
  with tempfile.TemporaryDirectory() as scratch:
    served.attach_vocabulary(Path(scratch) / "labels.txt")
    tf.saved_model.save(served, str(folder), signatures=signatures)
  if "classify" in signatures:
    _rename_method(folder, "classify", _CLASSIFY)


def _rename_method(folder: Path, signature: str, method: str) -> None:
  """Tells servers what a signature is for; TensorFlow 2 calls every one a prediction."""
  updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
  updater.replace_method_name(signature, method)
  updater.save()
  (folder / "fingerprint.pb").unlink()  # of the file before that; SHA256SUMS takes its place
