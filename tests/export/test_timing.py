"""Batching parameters follow from latencies."""

import re

import pytest

from vggtf.export import timing
from vggtf.export.timing import Latency


def read(text):
  """Returns the fields of a BatchingParameters message in text form."""
  return {
    name: value == "true" if value in ("true", "false") else int(value)
    for name, value in re.findall(r"^(\w+) \{ value: (\w+) \}$", text, re.M)
  }


def test_batches_are_as_large_as_pays():
  latencies = [Latency(1, 0.010), Latency(2, 0.012), Latency(4, 0.016), Latency(8, 0.032)]
  text = timing.write_batching(latencies, most=64)
  assert read(text) == {
    "max_batch_size": 64,  # of a request, which is split
    "max_execution_batch_size": 4,
    "enable_large_batch_splitting": True,
    "batch_timeout_micros": 10_000,
    "max_enqueued_batches": 625,  # ten seconds' work
  }
  assert "10.0 ms for 1, 12.0 ms for 2" in text.splitlines()[0]


def test_where_batches_do_not_pay_nobody_waits():
  found = read(timing.write_batching([Latency(1, 20.0), Latency(2, 41.0)], most=64))
  assert found["max_execution_batch_size"] == 1
  assert found["batch_timeout_micros"] == 0
  assert found["max_enqueued_batches"] == 1


@pytest.mark.parametrize(("pays_to", "asked"), [(1, [1, 2]), (4, [1, 2, 4, 8]), (99, [1, 2, 4, 8])])
def test_larger_batches_are_tried_as_long_as_they_pay(monkeypatch, pays_to, asked):
  clock = [0.0]

  class Reply:
    def numpy(self):
      return None

  def signature(images):
    count = int(images.shape[0])
    clock[0] += 1.0 if count <= pays_to else count
    return {"probabilities": Reply()}

  monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
  found = timing.measure(signature, b"file", most=8)
  assert [one.images for one in found] == asked
  assert [one.seconds for one in found] == [1.0 if n <= pays_to else n for n in asked]
