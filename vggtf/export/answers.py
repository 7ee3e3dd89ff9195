"""Whether a loaded model still gives the answers that were logged with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from vggtf import errors


def check(
  signatures: Mapping[str, Callable],
  logs: Iterable[prediction_log_pb2.PredictionLog],
  tolerance: float,
) -> float:
  """Sends each logged request again and compares the replies.

  Args:
    signatures: `tf.saved_model.load(folder).signatures`.
    logs: golden requests.
    tolerance: by how much numbers may differ: probabilities absolutely, features by this share of
      the largest. Labels count where no other class is so near that this decides.

  Returns:
    The largest difference.

  Raises:
    IntegrityError: a reply is another, or a signature is missing.
  """
  worst = 0.0
  for log in logs:
    name, request, expected = _open(log)
    if name not in signatures:
      raise errors.IntegrityError(f"the model has no signature {name}; export it again")
    reply = {key: value.numpy() for key, value in signatures[name](**request).items()}
    difference = _compare(reply, expected)
    if not difference <= tolerance:  # NaN is no answer either
      raise errors.IntegrityError(
        f"the signature {name} does not answer as the evaluated net: numbers differ by "
        f"{difference:.2g}, where export.run.tolerance allows {tolerance:g}; {_CURE}"
      )
    wrong = _count_wrong_names(reply, expected, tolerance)
    if wrong:
      raise errors.IntegrityError(
        f"the signature {name} names {wrong} classes otherwise than the evaluated net; {_CURE}"
      )
    worst = max(worst, difference)
  return worst


_CURE = "export it again, where it will be served"


def _open(
  log: prediction_log_pb2.PredictionLog,
) -> tuple[str, dict[str, tf.Tensor], dict[str, np.ndarray]]:
  """Returns a record's signature, its inputs and the expected reply."""
  if log.WhichOneof("log_type") == "classify_log":
    log = log.classify_log
    examples = [one.SerializeToString() for one in log.request.input.example_list.examples]
    rows = [one.classes for one in log.response.result.classifications]
    reply = {
      "classes": np.array([[one.label.encode() for one in row] for row in rows], object),
      "scores": np.array([[one.score for one in row] for row in rows], np.float32),
    }
    return log.request.model_spec.signature_name, {"inputs": tf.constant(examples)}, reply
  log = log.predict_log
  inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in log.request.inputs.items()}
  reply = {name: tf.make_ndarray(value) for name, value in log.response.outputs.items()}
  return log.request.model_spec.signature_name, inputs, reply


def _compare(reply: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
  """Returns the largest difference of numbers; infinity where there are others."""
  worst = 0.0
  for name, values in expected.items():
    if name not in reply or reply[name].shape != values.shape:
      return np.inf
    if values.dtype.kind == "f":
      scale = max(1.0, np.abs(values).max())  # of features; nothing else is above 1
      worst = np.maximum(worst, np.abs(reply[name] - values).max() / scale)  # keeps NaN
  return float(worst)


def _count_wrong_names(
  reply: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float
) -> int:
  """Returns how many names of classes differ though their probabilities are far from others'."""
  if "probabilities" in expected:
    scores = np.take_along_axis(expected["probabilities"], expected["classes"], axis=1)
  elif "scores" in expected:
    scores = expected["scores"]
  else:
    return 0
  # The one below the last is not known, so it may change places with it.
  gaps = -np.diff(scores, axis=1, prepend=np.inf, append=scores[:, -1:])
  decided = np.minimum(gaps[:, :-1], gaps[:, 1:]) > 2 * tolerance
  return sum(
    int((decided & (reply[name] != expected[name])).any(axis=1).sum())
    for name in ("classes", "labels")
    if name in expected
  )
