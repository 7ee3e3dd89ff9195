"""Requests and replies as they travel: the official messages and stubs, and our client examples."""

import importlib.util
import pathlib
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
  classification_pb2,
  get_model_metadata_pb2,
  predict_pb2,
  prediction_service_pb2_grpc,
)

from tests.export import nets
from tests.serving import server
from vggtf import images

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy" / "serving"


def client(name):
  """Returns a client example, which is a script and no module of ours."""
  spec = importlib.util.spec_from_file_location(name, DEPLOY / f"{name}.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture(scope="module")
def model():
  return server.Model(nets.exported_dense()[1])


@pytest.fixture(scope="module")
def address(model):
  with server.serve_grpc(model) as address:
    yield address


@pytest.fixture(scope="module")
def stub(address):
  with grpc.insecure_channel(address) as channel:
    yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def files():
  return nets.encoded()


def request(given, signature="serving_default", name="images"):
  found = predict_pb2.PredictRequest()
  found.model_spec.name, found.model_spec.signature_name = "dense", signature
  found.inputs[name].CopyFrom(tf.make_tensor_proto(given))
  return found


def example(file):
  found = tf.train.Example()
  found.features.feature["image/encoded"].bytes_list.value.append(file)
  return found


def test_metadata_say_what_to_send_and_what_comes_back(stub):
  asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
  asked.model_spec.name = "dense"
  found = get_model_metadata_pb2.SignatureDefMap()
  stub.GetModelMetadata(asked).metadata["signature_def"].Unpack(found)

  def shapes(infos):
    return {
      name: (tf.as_dtype(info.dtype).name, [one.size for one in info.tensor_shape.dim])
      for name, info in infos.items()
    }

  files, answer = (
    {"images": ("string", [-1])},
    {
      "probabilities": ("float32", [-1, 6]),
      "classes": ("int32", [-1, 5]),
      "labels": ("string", [-1, 5]),
    },
  )
  assert {
    name: (shapes(one.inputs), shapes(one.outputs)) for name, one in found.signature_def.items()
  } == {
    "serving_default": (files, answer),
    "images": ({"images": ("uint8", [-1, -1, -1, 3])}, answer),
    "classify": (
      {"inputs": ("string", [-1])},
      {"classes": ("string", [-1, 5]), "scores": ("float32", [-1, 5])},
    ),
    "features": (files, {"features": ("float32", [-1, 256])}),
    "score_map": (files, {"posteriors": ("float32", [-1, -1, -1, 6])}),
  }


@pytest.mark.parametrize(
  ("signature", "shapes"),
  [
    ("serving_default", {"probabilities": (2, 6), "classes": (2, 5), "labels": (2, 5)}),
    ("images", {"probabilities": (2, 6), "classes": (2, 5), "labels": (2, 5)}),
    ("features", {"features": (2, 256)}),
    ("score_map", {"posteriors": (2, 2, 3, 6)}),
  ],
)
def test_replies_have_the_shapes_that_were_said(stub, files, signature, shapes):
  given = [files[0], files[2]]
  if signature == "images":
    given = np.stack([images.decode(file) for file in given])
  reply = stub.Predict(request(given, signature))
  assert reply.model_spec.version.value == 70
  arrays = {name: tf.make_ndarray(value) for name, value in reply.outputs.items()}
  assert {name: values.shape for name, values in arrays.items()} == shapes
  if "probabilities" in shapes:
    expected = nets.measured(nets.exported_dense()[0], [files[0], files[2]])
    np.testing.assert_allclose(arrays["probabilities"], expected, rtol=0, atol=1e-6)


def test_the_classification_api_answers(stub, files):
  asked = classification_pb2.ClassificationRequest()
  asked.model_spec.name, asked.model_spec.signature_name = "dense", "classify"
  asked.input.example_list.examples.extend(example(file) for file in files[:3])
  found = stub.Classify(asked).result.classifications
  expected = nets.measured(nets.exported_dense()[0], files[:3])
  order = np.argsort(-expected, axis=1, kind="stable")[:, :5]
  assert [[one.label for one in row.classes] for row in found] == [
    [nets.LABELS[index] for index in row] for row in order
  ]
  scores = [[one.score for one in row.classes] for row in found]
  best = np.take_along_axis(expected, order, axis=1)
  np.testing.assert_allclose(scores, best, rtol=0, atol=1e-6)
  asked.model_spec.signature_name = "serving_default"
  with pytest.raises(grpc.RpcError, match="method_name to be tensorflow/serving/classify"):
    stub.Classify(asked)


def test_hostile_requests_are_refused_with_the_reason(stub, files):
  """S5 through the wire."""
  for given, text in (
    ([files[0], b""], "image 1 of the request is neither JPEG nor PNG; it has 0 bytes"),
    ([files[0][:-200]], "Invalid JPEG data"),
    (files[:1] * 65, "65 images in a request; this model takes 64 at most"),
  ):
    with pytest.raises(grpc.RpcError, match=text) as error:
      stub.Predict(request(given))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
  assert stub.Predict(request(files[:1])).outputs  # it lives


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_client_examples_ask_and_are_told(kind, model, address, files):
  ask = client(f"client_{kind}").ask
  with server.serve_rest(model) as rest:
    where = address if kind == "grpc" else rest
    found = ask(where, "dense", files[:3])
    refused = grpc.RpcError if kind == "grpc" else urllib.error.HTTPError
    with pytest.raises(refused) as error:
      ask(where, "dense", [b"no picture"])
    text = error.value.details() if kind == "grpc" else error.value.read().decode()
  assert "image 0 of the request is neither JPEG nor PNG" in text
  expected = nets.measured(nets.exported_dense()[0], files[:3])
  for answer, posteriors in zip(found, expected, strict=True):
    order = np.argsort(-posteriors, kind="stable")[:5]
    assert [label for label, _ in answer] == [nets.LABELS[index] for index in order]
    probabilities = [probability for _, probability in answer]
    np.testing.assert_allclose(probabilities, posteriors[order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_client_examples_say_that_no_server_answers(kind, monkeypatch, tmp_path, capsys):
  (tmp_path / "a.jpg").write_bytes(b"a")
  arguments = [f"client_{kind}.py", "--server=localhost:1", str(tmp_path / "a.jpg")]
  monkeypatch.setattr("sys.argv", arguments)
  assert client(f"client_{kind}").main() == 1
  assert "onnection refused" in capsys.readouterr().err
