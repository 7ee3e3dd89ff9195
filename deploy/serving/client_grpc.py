"""Asks TensorFlow Serving over gRPC what is on pictures.

pip install tensorflow-serving-api
python client_grpc.py --server=localhost:8500 --model=dense cat.jpg dog.png
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def ask(
  server: str, model: str, files: list[bytes], seconds: float = 60.0
) -> list[list[tuple[str, float]]]:
  """Returns the most probable labels of each picture and their probabilities, best first.

  Raises:
    grpc.RpcError: INVALID_ARGUMENT says which picture is none; UNAVAILABLE, that no server answers
      or that its queue is full: ask again later.
  """
  request = predict_pb2.PredictRequest()
  request.model_spec.name = model
  request.model_spec.signature_name = "serving_default"
  request.inputs["images"].CopyFrom(tf.make_tensor_proto(files, dtype=tf.string))
  # Pictures are larger than gRPC's 4 MB.
  size = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
  with grpc.insecure_channel(server, size) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    outputs = stub.Predict(request, timeout=seconds).outputs
  reply = {name: tf.make_ndarray(value) for name, value in outputs.items()}
  rows = zip(reply["labels"], reply["classes"], reply["probabilities"], strict=True)
  return [
    [(label.decode(), float(row[index])) for label, index in zip(labels, classes, strict=True)]
    for labels, classes, row in rows
  ]


def main() -> int:
  """Runs the command line; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--server", default="localhost:8500")
  parser.add_argument("--model", default="dense", help="the predictor's name")
  parser.add_argument("files", nargs="+", type=pathlib.Path)
  arguments = parser.parse_args()
  files = [path.read_bytes() for path in arguments.files]
  try:
    answers = ask(arguments.server, arguments.model, files)
  except grpc.RpcError as error:
    print(f"{error.code().name}: {error.details()}", file=sys.stderr)
    return 1
  for path, answer in zip(arguments.files, answers, strict=True):
    print(path)
    for label, probability in answer:
      print(f"  {probability:6.1%}  {label}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
