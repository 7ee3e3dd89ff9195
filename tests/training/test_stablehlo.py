"""The program of a step, run by JAX's own XLA, against TensorFlow's step."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import gpu_step
from tests.training import parts
from vggtf.optimizers import schedules
from vggtf.training import lowering, strategy

jax = pytest.importorskip("jax")
REPLICAS = 4
STEPS = 3

# As this file is collected, for JAX must not have begun, as it has after other tests.
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", REPLICAS)


@pytest.fixture(scope="module")
def devices():
  """Returns some CPUs that JAX makes of one."""
  return jax.devices()


@pytest.mark.parametrize("replicas", [1, REPLICAS])
def test_the_program_takes_the_steps_of_the_training(tmp_path, devices, replicas):
  options = {"dropout": 0.5, "schedule": schedules.Constant(3e-5)}
  if replicas == 1:
    options["norm"] = "batch"  # whose statistics are a replica's own
  ours = parts.build(lowering.OneOfMany(replicas), **options)
  lowered = lowering.lower(ours.take.take_one, parts.BATCH // replicas, parts.SIDE)
  gpu_step.write(tmp_path / "step", lowered)
  step = gpu_step.Step(tmp_path / "step", devices[:replicas])
  step.set(lowered.values())

  expected = parts.build(strategy.one_device("CPU:0"), **options)
  given = parts.arrays(STEPS)
  batches = iter(tf.data.Dataset.from_tensor_slices(given))
  for index in range(STEPS):
    told = step(step.put(given.image[index], given.label[index], given.weight[index]))
    scalars = expected.take(batches, 1)
    assert float(told["loss"] / told["weight"]) == pytest.approx(scalars["loss"], rel=1e-4)
  values = parts.values(expected)
  names = {
    id(one.handle): f"{owner.name}/{one.name}"
    for owner in (ours.net, ours.optimizer)
    for one in owner.variables
  }
  found = {
    names[id(handle)]: np.asarray(value)
    for handle, value in zip(lowered.captured, step.state, strict=True)
    if id(handle) in names
  }
  assert found.keys() == values.keys()
  for name, value in values.items():
    # A bias before a batch norm has no gradient but rounding.
    distance = np.linalg.norm(found[name] - value)
    assert distance <= 1e-4 * np.linalg.norm(value) + 1e-9, name


def test_a_program_travels_in_two_files(tmp_path, devices):
  ours = parts.build(lowering.OneOfMany(1))
  gpu_step.write(tmp_path / "step", lowering.lower(ours.take.take_one, parts.BATCH, parts.SIDE))
  step = gpu_step.Step(tmp_path / "step", devices[:1])
  step.draw()
  image, label, weight, _ = (one[0] for one in parts.arrays(1))
  told = step(step.put(image, label, weight))
  assert float(told["weight"]) == parts.BATCH
  assert np.isfinite(told["loss"])
  assert told["loss"] > 0


def test_without_a_gpu_it_says_so_and_ends_well(tmp_path, capsys):
  if any(one.platform == "gpu" for one in jax.devices()):
    pytest.skip("a GPU is there")
  assert gpu_step.main(["run", str(tmp_path)]) == 0
  assert capsys.readouterr().out.startswith("gpu_step: nothing is timed: ")
