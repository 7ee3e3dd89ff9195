import numpy as np
import pytest
import tensorflow as tf

from tests.conformance import configurations
from tests.training import parts
from vggtf import errors
from vggtf.losses import boxes, softmax
from vggtf.training import loss_scale, lowering, program


def step(replicas=1, **options) -> lowering.Lowered:
  """Returns the step on a part of 8 images of 32 pixels."""
  taken = parts.build(lowering.OneOfMany(replicas), **options).take
  return lowering.lower(
    taken.take_one, parts.BATCH // replicas, parts.SIDE, boxes="head" in options
  )


def check(lowered: lowering.Lowered) -> None:
  """Fails for what no TPU would take; XLA has no type for strings at all."""
  found = program.Program(lowered.hlo)
  assert found.host_operations() == []
  assert found.changing_shapes() == []


def test_a_step_with_everything_needs_no_host_and_has_fixed_sizes():
  everything = {"norm": "batch", "dropout": 0.5, "average": 0.9, "jit_compile": True, "slices": 2}
  everything |= {"compute_dtype": "float16", "loss_scale": loss_scale.Dynamic}
  lowered = step(replicas=2, all_reduce_dtype="bfloat16", **everything)
  check(lowered)
  assert set(lowered.results) >= {"loss", "top1_error", "top5_error", "weight"}
  values = lowered.values()
  assert len(values) == len({id(one) for one in lowered.captured})
  assert sum(np.array_equal(one, parts.MEAN_RGB) for one in values) == 2  # and its average


def test_so_does_a_step_that_learns_boxes():
  lowered = step(replicas=2, head="class_boxes", loss=boxes.Euclidean(), slices=2)
  check(lowered)
  assert set(lowered.results) >= {"loss", "localisation_error", "weight"}


@pytest.mark.slow
@pytest.mark.parametrize("name", configurations.NETS)
def test_every_net_of_the_project_can_go_to_a_tpu(name):
  configurations.parse(name)
  net = configurations.net(name)
  taken = parts.build(lowering.OneOfMany(2), model=lambda seed: net).take
  check(lowering.lower(taken.take_one, parts.BATCH // 2, net.input_size))


class Told(softmax.Softmax):
  """A loss that calls Python."""

  def __call__(self, outputs, labels):
    loss = super().__call__(outputs, labels)
    return tf.numpy_function(lambda one: one, [loss], tf.float32)


def test_what_calls_python_is_refused():
  with pytest.raises(errors.UsageError, match=r"cannot be compiled for a device.*PyFunc"):
    step(loss=Told())
