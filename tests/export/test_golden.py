"""Requests that prove an export, to us and to a server that warms itself up."""

import copy

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.export import nets
from vggtf import errors
from vggtf.export import answers, golden, limits, saved_model
from vggtf.predictors import centre


@pytest.fixture(scope="module")
def exported():
  """Returns the golden requests of an export, and its signatures."""
  folder = nets.exported_dense()[1]
  return list(golden.read(folder)), tf.saved_model.load(str(folder)).signatures


def predict_log(logs, signature):
  (log,) = (
    log.predict_log
    for log in logs
    if log.predict_log.request.model_spec.signature_name == signature
  )
  return log


def test_warm_up_asks_every_signature(exported):
  """S6: valid records, far fewer than the 1000 that a server takes."""
  logs, signatures = exported
  specs = [
    (log.predict_log if log.HasField("predict_log") else log.classify_log).request.model_spec
    for log in logs
  ]
  assert {spec.signature_name for spec in specs} == set(signatures)
  assert {spec.name for spec in specs} == {"dense"}
  assert len(logs) == len(signatures)
  classify = next(log.classify_log for log in logs if log.HasField("classify_log"))
  assert len(classify.request.input.example_list.examples) == 4
  assert [len(one.classes) for one in classify.response.result.classifications] == [5] * 4


def test_warm_up_is_of_all_kinds_of_pictures(exported):
  logs, _ = exported
  files = predict_log(logs, "serving_default").request.inputs["images"].string_val
  assert [file[:2] for file in files] == [b"\xff\xd8", b"\xff\xd8", b"\x89P", b"\xff\xd8"]
  shapes = [tf.io.decode_image(file).shape for file in files]
  assert shapes == [(64, 96, 3), (96, 64, 3), (64, 64, 3), (128, 160, 1)]


def test_what_was_exported_answers(exported):
  logs, signatures = exported
  assert answers.check(signatures, logs, tolerance=1e-6) <= 1e-6


@pytest.mark.parametrize(
  ("signature", "output", "text"),
  [
    ("serving_default", "probabilities", r"numbers differ by 0\.01"),
    ("images", "probabilities", r"numbers differ by 0\.01"),
    ("score_map", "posteriors", r"numbers differ by 0\.01"),
    ("features", "features", "numbers differ by"),
    ("serving_default", "labels", "names 1 classes otherwise"),
  ],
)
def test_another_answer_is_an_error(exported, signature, output, text):
  logs, signatures = copy.deepcopy(exported[0]), exported[1]
  outputs = predict_log(logs, signature).response.outputs
  values = tf.make_ndarray(outputs[output]).copy()
  if output == "labels":
    values[1, 0] = b"another"
  else:
    values.flat[0] += 0.01 * max(1, values.max())
  outputs[output].CopyFrom(tf.make_tensor_proto(values))
  with pytest.raises(errors.IntegrityError, match=f"the signature {signature} .*{text}"):
    answers.check(signatures, logs, tolerance=1e-5)


def test_scores_and_names_of_classes_count(exported):
  for change in ("score", "label"):
    logs = copy.deepcopy(exported[0])
    log = next(log.classify_log for log in logs if log.HasField("classify_log"))
    first = log.response.result.classifications[0].classes[0]
    setattr(first, change, 0.123 if change == "score" else "another")
    with pytest.raises(errors.IntegrityError, match="the signature classify"):
      answers.check(exported[1], logs, tolerance=1e-5)


def test_classes_that_are_level_may_change_places():
  scores = np.array([[0.3, 0.3, 0.4]], np.float32)

  def log(classes, labels):
    reply = {
      "probabilities": scores,
      "classes": np.array([classes], np.int32),
      "labels": np.array([labels], object),
    }
    return golden._log_predict("net", "serving_default", np.array([b""], object), reply)

  def answers_of(classes, labels):
    reply = {"probabilities": scores, "classes": [classes], "labels": [labels]}
    return {"serving_default": lambda images: {k: tf.constant(v) for k, v in reply.items()}}

  expected = [log([2, 0, 1], ["c", "a", "b"])]
  answers.check(answers_of([2, 1, 0], ["c", "b", "a"]), expected, tolerance=1e-5)
  with pytest.raises(errors.IntegrityError, match="names 2 classes otherwise"):
    answers.check(answers_of([0, 2, 1], ["a", "c", "b"]), expected, tolerance=1e-5)
  with pytest.raises(errors.IntegrityError, match="names 1 classes otherwise"):
    answers.check(answers_of([2, 0, 1], ["d", "a", "b"]), expected, tolerance=1e-5)


def test_no_number_is_no_answer(exported):
  logs, _ = exported
  log = next(log for log in logs if log.predict_log.response.outputs["probabilities"].dtype)

  def broken(images):
    reply = exported[1]["serving_default"](images=images)
    return reply | {"probabilities": reply["probabilities"] * float("nan")}

  with pytest.raises(errors.IntegrityError, match="differ by nan"):
    answers.check({"serving_default": broken}, [log], tolerance=1e-5)
  with pytest.raises(errors.IntegrityError, match="no signature serving_default"):
    answers.check({}, [log], tolerance=1e-5)


def test_an_export_that_answers_otherwise_is_removed(tmp_path, monkeypatch):
  """S3: what was written is not what was measured."""
  net = nets.Tiny()
  save = tf.saved_model.save

  def save_another(*arguments, **options):
    kept = tf.identity(net.weights)
    net.weights.assign(kept * 1.01)
    save(*arguments, **options)
    net.weights.assign(kept)

  monkeypatch.setattr(tf.saved_model, "save", save_another)
  with pytest.raises(errors.IntegrityError, match="does not answer as the evaluated net") as error:
    saved_model.export(tmp_path, net, centre.Centre(net, 12), nets.LABELS, version=7)
  assert error.value.exit_code == 4
  assert list((tmp_path / "centre").iterdir()) == []


def test_records_are_those_of_the_protocol(exported, tmp_path):
  golden.write(tmp_path, exported[0])
  found = [
    prediction_log_pb2.PredictionLog.FromString(value.numpy())
    for value in tf.data.TFRecordDataset(
      str(tmp_path / "assets.extra" / "tf_serving_warmup_requests")
    )
  ]
  assert found == exported[0]


@pytest.mark.parametrize(
  ("bounds", "sizes"),
  [
    ({"images": 2}, [(12, 18), (18, 12)]),
    ({"aspect": 1}, [(12, 12)]),
    ({"pixels": 220}, [(12, 18), (18, 12), (12, 12)]),
    ({"scanned_pixels": 144}, [(12, 12)]),
  ],
)
def test_requests_keep_within_what_the_export_takes(bounds, sizes, tmp_path):
  net = nets.Tiny()
  admitted = limits.Limits(**bounds)
  folder = saved_model.export(
    tmp_path, net, centre.Centre(net, 12), nets.LABELS, version=1, limits=admitted
  )
  files = predict_log(list(golden.read(folder)), "serving_default").request.inputs["images"]
  assert [tf.io.decode_image(file).shape[:2] for file in files.string_val] == sizes


def test_limits_that_refuse_every_picture_are_refused(tmp_path):
  net = nets.Tiny()
  with pytest.raises(errors.UsageError, match=r"Limits.pixels = 143 .*at least 144"):
    saved_model.export(
      tmp_path,
      net,
      centre.Centre(net, 12),
      nets.LABELS,
      version=1,
      limits=limits.Limits(pixels=143),
    )
  assert not list(tmp_path.rglob("saved_model.pb"))
