import tensorflow as tf

from tests.training import test_program
from vggtf.training import liveness

MATRIX = 64 * 64 * 4  # bytes


def test_what_is_read_later_is_kept_until_then():
  def chain(one, two, three):
    first = tf.linalg.matmul(one, two)  # kept for the end
    second = tf.linalg.matmul(first, three)
    third = tf.linalg.matmul(second, three)
    return tf.linalg.matmul(third, first)

  program = test_program.lowered(chain, *[(64, 64)] * 3)
  # At the third product the first and the second are alive; the result has a place of its own.
  assert liveness.temporary_bytes(program) == 3 * MATRIX


def test_element_wise_operations_are_fused():
  def chain(one, two):
    return tf.linalg.matmul(tf.nn.relu(tf.linalg.matmul(one, two) + 1.0), two)

  program = test_program.lowered(chain, *[(64, 64)] * 2)
  assert liveness.temporary_bytes(program) == 2 * MATRIX  # the ReLU's result and the last


def test_a_reduction_takes_results_as_they_are_made():
  program = test_program.lowered(lambda one: tf.reduce_sum(tf.exp(one) * one), (64, 64))
  assert liveness.temporary_bytes(program) < MATRIX


def test_a_new_value_takes_the_place_of_the_old_one():
  old = tf.Variable(tf.zeros((64, 64)))

  def update(one):
    old.assign_sub(tf.linalg.matmul(one, one))

  program = test_program.lowered(update, (64, 64))
  assert program.argument_bytes() == 2 * MATRIX
  assert liveness.temporary_bytes(program) == MATRIX  # while it is made


def test_a_loop_keeps_what_it_carries_and_not_what_it_only_reads():
  def loop(one, two):
    for _ in tf.range(3):
      one = tf.nn.relu(one @ two) @ two
    return one

  program = test_program.lowered(loop, *[(64, 64)] * 2)
  # What is carried, with two counters; the ReLU's result; and the new value while it is made. `two`
  # stays where it is.
  assert liveness.temporary_bytes(program) == 3 * MATRIX + 8
