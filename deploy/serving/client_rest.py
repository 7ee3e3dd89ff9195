"""Asks TensorFlow Serving over REST what is on pictures; Python's own library is enough.

python client_rest.py --server=localhost:8501 --model=dense cat.jpg dog.png
"""

from __future__ import annotations

import argparse
import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request


def ask(
  server: str, model: str, files: list[bytes], seconds: float = 60.0
) -> list[list[tuple[str, float]]]:
  """Returns the most probable labels of each picture and their probabilities, best first.

  Raises:
    urllib.error.HTTPError: 400 says which picture is none; 503, that the server's queue is full.
  """
  instances = [{"b64": base64.b64encode(file).decode()} for file in files]
  request = urllib.request.Request(
    f"http://{server}/v1/models/{model}:predict",
    json.dumps({"signature_name": "serving_default", "instances": instances}).encode(),
    {"Content-Type": "application/json"},
  )
  with urllib.request.urlopen(request, timeout=seconds) as reply:
    predictions = json.load(reply)["predictions"]
  return [
    [
      (label, one["probabilities"][index])
      for label, index in zip(one["labels"], one["classes"], strict=True)
    ]
    for one in predictions
  ]


def main() -> int:
  """Runs the command line; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--server", default="localhost:8501")
  parser.add_argument("--model", default="dense", help="the predictor's name")
  parser.add_argument("files", nargs="+", type=pathlib.Path)
  arguments = parser.parse_args()
  files = [path.read_bytes() for path in arguments.files]
  try:
    answers = ask(arguments.server, arguments.model, files)
  except urllib.error.HTTPError as error:
    print(f"{error.code}: {json.load(error)['error']}", file=sys.stderr)
    return 1
  except urllib.error.URLError as error:
    print(f"{arguments.server} does not answer: {error.reason}", file=sys.stderr)
    return 1
  for path, answer in zip(arguments.files, answers, strict=True):
    print(path)
    for label, probability in answer:
      print(f"  {probability:6.1%}  {label}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
