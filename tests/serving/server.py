"""A thin stand-in for TensorFlow Serving, whose program is no Python package: same messages.

It answers Predict, Classify and GetModelMetadata of the official stubs over gRPC, and predict and
classify over REST, from an export that TensorFlow loads. No batching, one model, one version.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.server
import json
import pathlib
import threading
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import (
  classification_pb2,
  get_model_metadata_pb2,
  model_pb2,
  predict_pb2,
  prediction_service_pb2_grpc,
)

_CLASSIFY = "tensorflow/serving/classify"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Model:
  """A loaded version of an export.

  Args:
    folder: <base>/<name>/<version>.
  """

  def __init__(self, folder: pathlib.Path):
    self.name, self.version = folder.parent.name, int(folder.name)
    self._loaded = tf.saved_model.load(str(folder))  # owns what the signatures use
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    self.definitions = {
      name: definition
      for name, definition in saved.meta_graphs[0].signature_def.items()
      if not name.startswith("__")
    }

  def find(self, spec: model_pb2.ModelSpec) -> tuple[Callable, meta_graph_pb2.SignatureDef]:
    """Returns the signature that a request names, "serving_default" if none."""
    name = spec.signature_name or "serving_default"
    if spec.name != self.name or spec.version.value not in (0, self.version):
      raise tf.errors.NotFoundError(None, None, f"Servable not found for request: {spec.name}")
    if name not in self.definitions:
      raise tf.errors.InvalidArgumentError(None, None, f'Serving signature key "{name}" not found.')
    return self._loaded.signatures[name], self.definitions[name]

  def spec(self, signature: str) -> model_pb2.ModelSpec:
    found = model_pb2.ModelSpec(name=self.name, signature_name=signature)
    found.version.value = self.version
    return found


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
  """The official service, on one model."""

  def __init__(self, model: Model):
    self._model = model

  def Predict(self, request, context):
    with _status(context):
      answer, definition = self._model.find(request.model_spec)
      if request.inputs.keys() != definition.inputs.keys():
        raise tf.errors.InvalidArgumentError(None, None, "inputs do not match the signature")
      reply = answer(**{name: tf.make_ndarray(value) for name, value in request.inputs.items()})
      found = predict_pb2.PredictResponse(
        model_spec=self._model.spec(request.model_spec.signature_name)
      )
      for name in request.output_filter or reply:
        found.outputs[name].CopyFrom(tf.make_tensor_proto(reply[name].numpy()))
      return found

  def Classify(self, request, context):
    with _status(context):
      answer, definition = self._model.find(request.model_spec)
      if definition.method_name != _CLASSIFY:
        text = f"Expected classification signature method_name to be {_CLASSIFY}"
        raise tf.errors.InvalidArgumentError(None, None, text)
      examples = [one.SerializeToString() for one in request.input.example_list.examples]
      if not examples:
        raise tf.errors.InvalidArgumentError(None, None, "Input is empty.")
      reply = answer(inputs=tf.constant(examples))
      found = classification_pb2.ClassificationResponse(
        model_spec=self._model.spec(request.model_spec.signature_name)
      )
      for labels, scores in zip(reply["classes"].numpy(), reply["scores"].numpy(), strict=True):
        row = found.result.classifications.add()
        for label, score in zip(labels, scores, strict=True):
          row.classes.add(label=label, score=score)
      return found

  def GetModelMetadata(self, request, context):
    with _status(context):
      found = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=self._model.spec(""))
      definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=self._model.definitions)
      found.metadata["signature_def"].Pack(definitions)
      return found


@contextlib.contextmanager
def _status(context) -> Iterator[None]:
  """Turns TensorFlow's errors into gRPC's, whose codes have the same numbers."""
  try:
    yield
  except tf.errors.OpError as error:
    context.abort(_CODES[error.error_code], error.message)


@contextlib.contextmanager
def serve_grpc(model: Model, threads: int = 4) -> Iterator[str]:
  """Serves over gRPC while it is entered; yields "host:port"."""
  server = grpc.server(concurrent.futures.ThreadPoolExecutor(threads))
  prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(model), server)
  port = server.add_insecure_port("localhost:0")
  server.start()
  try:
    yield f"localhost:{port}"
  finally:
    server.stop(None).wait()


@contextlib.contextmanager
def serve_rest(model: Model) -> Iterator[str]:
  """Serves over REST while it is entered; yields "host:port"."""

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
      body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
      verb = self.path.removeprefix(f"/v1/models/{model.name}:")
      spec = model.spec(body.get("signature_name", ""))
      try:
        code, reply = 200, {"predict": _predict, "classify": _classify}[verb](model, spec, body)
      except tf.errors.OpError as error:
        code, reply = 400, {"error": error.message}
      text = json.dumps(reply).encode()
      self.send_response(code)
      self.send_header("Content-Length", str(len(text)))
      self.end_headers()
      self.wfile.write(text)

    def log_message(self, *_):
      pass

  server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
  thread = threading.Thread(target=server.serve_forever)
  thread.start()
  try:
    yield f"localhost:{server.server_port}"
  finally:
    server.shutdown()
    thread.join()
    server.server_close()


def _predict(model: Model, spec: model_pb2.ModelSpec, body: dict) -> dict:
  """Answers in rows: one instance in, one prediction out."""
  answer, definition = model.find(spec)
  ((name, info),) = definition.inputs.items()
  values = tf.constant([_decode(one) for one in body["instances"]], tf.as_dtype(info.dtype))
  reply = {key: value.numpy() for key, value in answer(**{name: values}).items()}
  rows = range(len(body["instances"]))
  return {"predictions": [{key: _encode(reply[key][row]) for key in reply} for row in rows]}


def _classify(model: Model, spec: model_pb2.ModelSpec, body: dict) -> dict:
  answer, _ = model.find(spec)
  examples = []
  for given in body["examples"]:
    example = tf.train.Example()
    for key, value in given.items():
      example.features.feature[key].bytes_list.value.append(_decode(value))
    examples.append(example.SerializeToString())
  reply = {key: _encode(value.numpy()) for key, value in answer(inputs=examples).items()}
  pairs = zip(reply["classes"], reply["scores"], strict=True)
  return {"results": [list(zip(*pair, strict=True)) for pair in pairs]}


def _decode(value):
  """Returns the bytes of {"b64": ...}, anything else as it is."""
  return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _encode(values: np.ndarray):
  """Returns JSON's kinds of values; strings as text, as of outputs not called "..._bytes"."""
  found = values.tolist()
  return json.loads(json.dumps(found, default=bytes.decode))
