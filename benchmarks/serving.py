"""An export behind gRPC beside the same export called in the process, and what clients wait.

The server is the tests' thin one on the official stubs: TensorFlow Serving's own program cannot be
had as a package, and batches better. So the ratios say what messages and clients at once cost.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import tempfile
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks import photos, rounds
from tests.serving import server
from vggtf.export import saved_model
from vggtf.models import vgg
from vggtf.predictors import centre

CLASSES = 1000
WIDTH = 0.25  # of net D: the transport is not lost in the convolutions
REQUESTS = 32  # of a round
CLIENTS = (1, 4, 16)
ROUNDS = 5
PERCENTILES = (50, 90, 99)


def measure() -> dict:
  net = vgg.VGG(CLASSES, (123.7, 116.8, 103.9), width=WIDTH)
  labels = [str(label) for label in range(CLASSES)]
  files = [
    tf.io.encode_jpeg(photos.paint(number, 375, 500), quality=92).numpy()
    for number in range(REQUESTS)
  ]
  waits: dict[str, list[float]] = {}
  with tempfile.TemporaryDirectory() as folder:
    path = saved_model.export(folder, net, centre.Centre(net), labels, version=1)
    with server.serve_grpc(server.Model(pathlib.Path(path)), max(CLIENTS)) as address:
      answer = tf.saved_model.load(path).signatures["serving_default"]
      contenders = {"called": _contender(lambda file: answer(images=tf.constant([file])), files, 1)}
      for clients in CLIENTS:
        name = f"{clients} clients"
        waits[name] = []
        contenders[name] = _ask_over_grpc(address, files, clients, waits[name])
      taken = rounds.take_turns(contenders, ROUNDS)
  rows = [
    rounds.compare(f"D/4 centre crop, {name}", "img/s", taken[name], "in process", taken["called"])
    for name in waits
  ]
  notes = [f"serving: {name} wait {_describe(seconds)}" for name, seconds in waits.items()]
  return {"rows": rows, "notes": notes, "rounds": {"serving": taken}}


def _ask_over_grpc(
  address: str, files: list[bytes], clients: int, seconds: list[float]
) -> rounds.Contender:
  """Returns who asks for one picture a request, and notes how long each took."""
  channels = [grpc.insecure_channel(address) for _ in range(clients)]
  stubs = [prediction_service_pb2_grpc.PredictionServiceStub(one) for one in channels]

  def ask(file: bytes, client: int = 0) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "centre"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto([file]))
    start = time.perf_counter()
    stubs[client].Predict(request)
    seconds.append(time.perf_counter() - start)

  return _contender(ask, files, clients)


def _contender(ask, files: list[bytes], clients: int) -> rounds.Contender:
  def work() -> float:
    if clients == 1:
      for file in files:
        ask(file)
    else:
      with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, files, (number % clients for number in range(len(files)))))
    return len(files)

  return rounds.Contender(work)


def _describe(seconds: list[float]) -> str:
  values = np.percentile(seconds, PERCENTILES)
  return ", ".join(f"p{p} {1000 * v:.1f} ms" for p, v in zip(PERCENTILES, values, strict=True))
