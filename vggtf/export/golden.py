"""Golden requests: pictures and what the predictor said of them before it was exported.

They are kept with the export as TensorFlow Serving's warm-up requests, which a server sends to
itself before it takes any, so that one file proves the model and warms it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from vggtf import contracts, errors, images
from vggtf.export.limits import Limits
from vggtf.export.served import ENCODED_KEY, TOP

PATH = Path("assets.extra/tf_serving_warmup_requests")  # where servers look
_SIDES = ((1.0, 1.5), (1.5, 1.0), (1.0, 1.0), (2.0, 2.5))  # height and width, by the scale


def record(
  model: contracts.Model,
  predictor: contracts.Predictor,
  labels: Sequence[str],
  signatures: Container[str],
  limits: Limits,
) -> list[prediction_log_pb2.PredictionLog]:
  """Returns a request for each signature, with the reply that the predictor itself gives.

  Args:
    model: the net.
    predictor: what was measured, as an evaluation calls it: each picture alone.
    labels: class names in label order.
    signatures: names of those that were exported.
    limits: of a request; pictures that they refuse are left out.

  Raises:
    UsageError: the limits refuse them all.
  """
  files = _paint(predictor.scale, limits)
  evaluate = tf.function(
    lambda image: predictor(
      tf.nest.map_structure(lambda view: view[tf.newaxis], predictor.prepare(image))
    ),
    input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
  )
  decoded = [images.decode(tf.constant(file)) for file in files]
  probabilities = np.concatenate([evaluate(image) for image in decoded])
  rescaled = [images.rescale(image, predictor.scale) for image in decoded]
  crops = tf.stack([images.crop_centre(image, model.input_size) for image in rescaled])
  classes = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP].astype(np.int32)
  names = np.array(labels, object)[classes]
  answer = {"probabilities": probabilities, "classes": classes, "labels": names}
  name, given = predictor.name, np.array(files, object)
  found = [_log_predict(name, "serving_default", given, answer)]
  if "images" in signatures:
    first = {output: values[:1] for output, values in answer.items()}
    found.append(_log_predict(name, "images", decoded[0][tf.newaxis].numpy(), first))
  if "classify" in signatures:
    scores = np.take_along_axis(probabilities, classes, axis=1)
    found.append(_log_classify(name, files, names, scores))
  if "score_map" in signatures:
    posteriors = tf.nn.softmax(model.score_map(rescaled[0][tf.newaxis])).numpy()
    found.append(_log_predict(name, "score_map", given[:1], {"posteriors": posteriors}))
  if "features" in signatures:
    features = model(crops).features.numpy()
    found.append(_log_predict(name, "features", given, {"features": features}))
  return found


def first_file(logs: Sequence[prediction_log_pb2.PredictionLog]) -> bytes:
  """Returns a picture of golden requests."""
  return logs[0].predict_log.request.inputs["images"].string_val[0]


def write(folder: Path, logs: Sequence[prediction_log_pb2.PredictionLog]) -> None:
  """Writes the requests into the folder of a SavedModel."""
  path = folder / PATH
  path.parent.mkdir(parents=True, exist_ok=True)
  with tf.io.TFRecordWriter(str(path)) as writer:
    for log in logs:
      writer.write(log.SerializeToString(deterministic=True))


def read(folder: Path) -> Iterator[prediction_log_pb2.PredictionLog]:
  """Yields the requests of a SavedModel's folder, which `integrity.check` found whole."""
  for value in tf.data.TFRecordDataset(str(folder / PATH)):
    yield prediction_log_pb2.PredictionLog.FromString(value.numpy())


def _paint(scale: int, limits: Limits) -> list[bytes]:
  """Returns files of smooth colours, the same ones always: tall, wide, grey, JPEG and PNG."""
  draw, files = np.random.RandomState(0), []
  for index, sides in enumerate(_SIDES):
    coarse = draw.randint(0, 256, (4, 4, 3)).astype(np.float32)
    size = [round(scale * side) for side in sides]
    if not limits.admit(*size):
      continue
    pixels = images.to_levels(tf.image.resize(coarse, size, method="bicubic"))
    if index == len(_SIDES) - 1:
      pixels = pixels[..., :1]
    encode = tf.io.encode_png if index == len(_SIDES) - 2 else tf.io.encode_jpeg
    files.append(encode(pixels).numpy())
  if not files:
    raise errors.UsageError(
      f"Limits.pixels = {limits.pixels} and scanned_pixels = {limits.scanned_pixels}: expected at "
      f"least {scale**2}, a square picture of {scale} pixels a side, as it is rescaled to"
    )
  return files[: limits.images]


def _log_predict(
  model: str, signature: str, given: np.ndarray, reply: dict[str, np.ndarray]
) -> prediction_log_pb2.PredictionLog:
  found = prediction_log_pb2.PredictionLog()
  log = found.predict_log
  for spec in (log.request.model_spec, log.response.model_spec):
    spec.name, spec.signature_name = model, signature
  log.request.inputs["images"].CopyFrom(tf.make_tensor_proto(given))
  for name, values in reply.items():
    log.response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
  return found


def _log_classify(
  model: str, files: Sequence[bytes], labels: np.ndarray, scores: np.ndarray
) -> prediction_log_pb2.PredictionLog:
  found = prediction_log_pb2.PredictionLog()
  log = found.classify_log
  for spec in (log.request.model_spec, log.response.model_spec):
    spec.name, spec.signature_name = model, "classify"
  for file, names, values in zip(files, labels, scores, strict=True):
    example = log.request.input.example_list.examples.add()
    example.features.feature[ENCODED_KEY].bytes_list.value.append(file)
    classes = log.response.result.classifications.add().classes
    for label, score in zip(names, values, strict=True):
      classes.add(label=label, score=score)
  return found
