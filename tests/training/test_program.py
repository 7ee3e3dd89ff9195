import functools

import pytest
import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from tests.training import parts
from vggtf.training import lowering, program


def lowered(function, *shapes) -> program.Program:
  """Returns the program of a function of float32 arrays."""
  specs = [tf.TensorSpec(shape) for shape in shapes]
  compiled = tf.function(function, jit_compile=True)
  return program.Program(
    compiled.experimental_get_compiler_ir(*specs)("hlo_serialized", platform_name="CPU")
  )


@functools.cache
def step(replicas=1, slices=1) -> program.Program:
  """Returns the program of a step on a part of 8 images."""
  taken = parts.build(lowering.OneOfMany(replicas), dropout=0.5, slices=slices).take
  return program.Program(lowering.lower(taken.take_one, parts.BATCH // replicas, parts.SIDE).hlo)


def test_products_are_counted_as_on_paper():
  # Each of 2 x 7 x 5 outputs takes one for each of 3 inputs.
  product = lowered(lambda one, two: one @ two, (2, 7, 3), (2, 3, 5))
  assert product.multiply_adds() == 2 * 7 * 5 * 3


@pytest.mark.parametrize(
  ("stride", "groups", "dilation"), [(1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 2, 1), (1, 1, 2)]
)
def test_both_gradients_of_a_convolution_count_as_much_as_itself(stride, groups, dilation):
  def forward(maps, kernel):
    return tf.nn.conv2d(maps, kernel, stride, "SAME", dilations=dilation)

  def all_three(maps, kernel):
    with tf.GradientTape() as tape:
      tape.watch((maps, kernel))
      result = forward(maps, kernel)
    return result, tape.gradient(result, (maps, kernel), output_gradients=result)

  shapes = (2, 8, 8, 4), (3, 3, 4 // groups, 6)
  once = 2 * (8 // stride) ** 2 * 6 * 9 * 4 // groups
  assert lowered(forward, *shapes).multiply_adds() == once
  assert lowered(all_three, *shapes).multiply_adds() == 3 * once


def test_what_is_computed_for_nobody_does_not_count():
  def forget(one):
    tf.linalg.matmul(one, one)
    return one + 1

  assert lowered(forget, (4, 4)).multiply_adds() == 0


def test_a_loop_counts_as_often_as_it_runs():
  def power(one):
    for _ in tf.range(2, 7):
      one = tf.linalg.matmul(one, one)
    return one

  assert lowered(power, (4, 4)).multiply_adds() == 5 * 4**3


def test_a_step_is_three_forward_passes_without_the_pixels_gradient():
  # Net A at 32 pixels and a sixteenth of its width: the places of each convolution's map, its
  # inputs and outputs; then the three fully-connected layers.
  places = [(32, 3, 4), (16, 4, 8), (8, 8, 16), (8, 16, 16), (4, 16, 32), (4, 32, 32)]
  places += [(2, 32, 32), (2, 32, 32)]
  convolutions = [9 * side**2 * inputs * outputs for side, inputs, outputs in places]
  forward = sum(convolutions) + 32 * 256 + 256 * 256 + 256 * parts.CLASSES
  assert step().multiply_adds() == parts.BATCH * (3 * forward - convolutions[0])
  assert step(slices=4).multiply_adds() == step().multiply_adds()


def test_each_gradient_and_each_number_for_the_log_is_summed_over_replicas():
  assert step().sums() == (0, 0)
  variables = parts.net().trainable_variables
  numbers = sum(variable.shape.num_elements() for variable in variables)
  logged = 4  # loss, two errors, weight
  assert step(replicas=4).sums() == (len(variables) + logged, 4 * (numbers + logged))


def test_the_size_of_the_arguments_is_that_of_batch_and_variables():
  variables = parts.build().net.variables
  numbers = sum(variable.shape.num_elements() for variable in variables)
  velocities = numbers - 3  # mean_rgb has none
  pixels = parts.BATCH * 3 * parts.SIDE**2
  size = pixels + 8 * parts.BATCH + 4 * (numbers + velocities)
  assert step().argument_bytes() == pytest.approx(size, abs=64)  # the step's number, the schedule


def test_a_program_that_waits_for_its_host_is_found_out():
  module = hlo_pb2.HloModuleProto(entry_computation_id=1)
  computation = module.computations.add(id=1, root_id=2)
  computation.instructions.add(id=1, opcode="outfeed")
  computation.instructions.add(
    id=2, opcode="custom-call", custom_call_target="xla_python_cpu_callback"
  )
  found = program.Program(module.SerializeToString())
  assert found.host_operations() == ["custom-call xla_python_cpu_callback", "outfeed"]


def test_a_size_that_depends_on_values_is_found_out():
  assert lowered(lambda one: one + 1, (4, 4)).changing_shapes() == []
  assert lowered(lambda one: tf.boolean_mask(one, one[:, 0] > 0), (4, 4)).changing_shapes()


def test_the_notes_of_a_tpus_compiler_are_added_up():
  module = hlo_pb2.HloModuleProto(entry_computation_id=1)
  body = module.computations.add(id=3, root_id=7)
  note = b'{"flag_configs":[],"estimated_cycles":"50"}'
  body.instructions.add(id=7, opcode="fusion", backend_config=note)
  module.computations.add(id=4, root_id=8).instructions.add(id=8, opcode="constant")
  loop = module.computations.add(id=1, root_id=2).instructions.add(id=2, opcode="while")
  loop.called_computation_ids.extend([3, 4])
  loop.backend_config = b'{"known_trip_count":{"n":"6"}}'
  assert program.Program(module.SerializeToString()).estimated_cycles() == 300
