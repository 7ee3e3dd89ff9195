"""Many clients at once, good and hostile: right answers, clear refusals, and the server lives."""

import concurrent.futures
import itertools
import struct
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.export import nets
from tests.serving import server

CLIENTS, REQUESTS = 8, 60


def request(files):
  found = predict_pb2.PredictRequest()
  found.model_spec.name = "dense"
  found.inputs["images"].CopyFrom(tf.make_tensor_proto(files, dtype=tf.string))
  return found


def hostile(good):
  """Returns requests that no server should believe."""
  jpeg, png = good[0], good[2]
  frame = jpeg.index(b"\xff\xc0")
  bomb = jpeg[: frame + 5] + struct.pack(">HH", 65500, 65500) + jpeg[frame + 9 :]
  wide = png[:16] + struct.pack(">II", 2**30, 2) + png[24:]
  draw = np.random.RandomState(0)
  flips = []
  for _ in range(20):  # of the header, where a decoder can be led astray
    damaged = bytearray(jpeg)
    damaged[draw.randint(2, 600)] ^= 1 << draw.randint(8)
    flips.append([bytes(damaged)])
  return [
    [b""],
    [jpeg, b""],
    [b"no picture"],
    [jpeg[: len(jpeg) // 2]],
    [png[: len(png) // 2]],
    [bomb],
    [wide],
    good[:1] * 100,
    [draw.bytes(10_000)],
    [b"\xff\xd8\xff" + draw.bytes(10_000)],
    [b"\x89PNG\r\n\x1a\n" + draw.bytes(10_000)],
    *flips,
  ]


@pytest.mark.slow
def test_clients_at_once_are_answered_or_refused(capsys):
  predictor, folder = nets.exported_dense()
  good = nets.encoded()
  expected = nets.measured(predictor, good)
  wrong = hostile(good)
  refused = []

  def ask(number):
    """Returns the seconds that each good request took."""
    draw, seconds = np.random.RandomState(number), []
    with grpc.insecure_channel(address) as channel:
      stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
      for _ in range(REQUESTS):
        if draw.rand() < 0.4:
          try:  # a flipped bit may leave a picture
            stub.Predict(request(wrong[draw.randint(len(wrong))]))
          except grpc.RpcError as error:
            refused.append((error.code(), error.details()))
          continue
        chosen = draw.randint(len(good), size=draw.randint(1, 5))
        start = time.perf_counter()
        reply = stub.Predict(request([good[index] for index in chosen]))
        seconds.append(time.perf_counter() - start)
        found = tf.make_ndarray(reply.outputs["probabilities"])
        np.testing.assert_allclose(found, expected[chosen], rtol=0, atol=1e-6)
    return seconds

  with (
    server.serve_grpc(server.Model(folder), threads=CLIENTS) as address,
    concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool,
  ):
    seconds = list(itertools.chain.from_iterable(pool.map(ask, range(CLIENTS))))
  assert {code for code, _ in refused} == {grpc.StatusCode.INVALID_ARGUMENT}
  assert all(text for _, text in refused)
  assert len(seconds) > CLIENTS * REQUESTS / 2
  with capsys.disabled():
    values = ", ".join(f"p{p} {1000 * np.percentile(seconds, p):.1f} ms" for p in (50, 90, 99))
    print(f"\n{len(seconds)} good requests of {CLIENTS} clients: {values}; {len(refused)} refused")


@pytest.mark.slow
def test_saved_model_cli_shows_and_runs_it(tmp_path):
  """TensorFlow's own tool, which knows nothing of ours."""
  predictor, folder = nets.exported_dense()
  command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli"]

  def run(*arguments):
    done = subprocess.run(
      [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

  shown = run("show", "--dir", folder, "--tag_set", "serve", "--signature_def", "classify")
  assert "Method name is: tensorflow/serving/classify" in shown
  everything = run("show", "--dir", folder, "--all")
  for name in ("serving_default", "images", "classify", "features", "score_map"):
    assert f"signature_def['{name}']" in everything
  file = nets.encoded()[0]
  pixels = tf.io.decode_jpeg(file, dct_method="INTEGER_ACCURATE").numpy()[np.newaxis]
  np.save(tmp_path / "pixels.npy", pixels)
  run(
    *("run", "--dir", folder, "--tag_set", "serve", "--signature_def", "images"),
    *("--inputs", f"images={tmp_path}/pixels.npy", "--outdir", tmp_path),
  )
  found = np.load(tmp_path / "probabilities.npy")
  np.testing.assert_allclose(found, nets.measured(predictor, [file]), rtol=0, atol=1e-6)
