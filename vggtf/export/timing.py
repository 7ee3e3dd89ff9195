"""How long an export takes to answer, and the batching that follows from it."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

_GAIN = 1.05  # a batch twice as large must answer so many times the images a second
_CALLS = 3
_PATIENCE = 10.0  # seconds that a request may wait in a queue before it is refused


@dataclasses.dataclass(frozen=True)
class Latency:
  """Seconds that a request of so many images took, a median."""

  images: int
  seconds: float

  def __str__(self) -> str:
    return f"{1000 * self.seconds:.1f} ms for {self.images}"


def measure(signature: Callable, file: bytes, most: int) -> list[Latency]:
  """Asks with 1, 2, 4... copies of a picture, as long as that answers more images a second.

  Args:
    signature: serving_default.
    file: an encoded picture.
    most: images of a request.

  Returns:
    At least one latency, in order of their images.
  """
  found = []
  images = 1
  while images <= most:
    request = tf.constant([file] * images)
    signature(images=request)  # the first one sets up the kernels
    latency = Latency(images, statistics.median(_time(signature, request) for _ in range(_CALLS)))
    slower = bool(found) and _speed(latency) < _GAIN * _speed(found[-1])
    found.append(latency)
    if slower:
      break
    images *= 2
  return found


def write_batching(latencies: list[Latency], most: int) -> str:
  """Returns TensorFlow Serving's BatchingParameters, as text.

  Args:
    latencies: measured, the last one possibly beyond what pays.
    most: images of a request.
  """
  best = max(latencies, key=_speed)
  # Larger requests than the best batch are split, so that no client has to know it.
  return "\n".join(
    [
      f"# Images of a request: {', '.join(map(str, latencies))}.",
      f"max_batch_size {{ value: {most} }}",
      f"max_execution_batch_size {{ value: {best.images} }}",
      "enable_large_batch_splitting { value: true }",
      # To wait for others must not cost more than what one alone takes.
      f"batch_timeout_micros {{ value: {_wait(latencies[0], best)} }}",
      f"max_enqueued_batches {{ value: {max(1, round(_PATIENCE / best.seconds))} }}",
      "",
    ]
  )


def _time(signature: Callable, request: tf.Tensor) -> float:
  start = time.perf_counter()
  signature(images=request)["probabilities"].numpy()
  return time.perf_counter() - start


def _speed(latency: Latency) -> float:
  return latency.images / latency.seconds


def _wait(alone: Latency, best: Latency) -> int:
  """Returns microseconds that a request waits for others to share its batch."""
  return round(1e6 * alone.seconds) if best.images > 1 else 0
