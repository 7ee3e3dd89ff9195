import dataclasses
import types

from vggtf.reports import plan

STEP = plan.Step(
  parameters=138_357_544,
  multiply_adds=3_000_000_000_000,
  forward_multiply_adds=1_000_000_000_000,
  sums=36,
  sum_bytes=2**29,
  host_operations=[],
  changing_shapes=[],
  weights=2**29,
  gradients=2**29,
  slots=2**28,
  averages=0,
  batch=2**20,
  activations=2**30,
  arguments=2**30,
  temporaries=3 * 2**30,
)


def test_a_step_is_told_in_units_that_people_read():
  computed, memory = (dict(rows) for rows in plan.of_step(STEP).values())
  assert computed["parameters"] == "138,357,544"
  assert computed["multiply-adds"] == "3,000.0 G, 1.00 of 3 forward passes"
  assert computed["operations"].startswith("6 TFLOP")  # a multiplication and an addition each
  assert computed["sums"] == "36 over the replicas, of 0.50 GiB"
  assert computed["host"].startswith("not needed")
  assert memory["optimizer"] == "0.25 GiB"
  assert memory["batch"] == "1.00 MiB"
  assert memory["at the peak"].startswith("4.00 GiB, estimated")
  assert "averages" not in memory


def test_what_no_tpu_takes_is_named():
  told = dataclasses.replace(
    STEP, host_operations=["outfeed"], changing_shapes=["where.1"], averages=2**29, sums=0
  )
  computed, memory = (dict(rows) for rows in plan.of_step(told).values())
  assert computed["host"] == "waits for outfeed; where.1 has no fixed size"
  assert computed["sums"] == "none: one replica"
  assert memory["averages"] == "0.50 GiB"


def test_an_estimate_of_time_is_called_one():
  compiled = types.SimpleNamespace(
    hbm_bytes=3 * 2**30,
    code_bytes=2**20,
    temporary_bytes=2**30,
    floating_point_operations=3e12,
    seconds=0.03,
    sums=3,
    sum_bytes=2**29,
  )
  rows = dict(plan.of_compiled(compiled, available=16 * 2**30))
  assert rows["memory"] == "3.00 GiB of 16.00 GiB: the step fits"
  assert rows["time"].startswith("30.0 ms (100 TFLOP/s), the compiler's estimate")
  compiled.seconds = None
  assert "time" not in dict(plan.of_compiled(compiled, available=16 * 2**30))
