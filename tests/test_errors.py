import signal

import pytest
import tensorflow as tf

from vggtf import errors


def test_known_name():
  assert errors.choose("norm", None, {None: 1, "batch": 2}) == 1


def test_unknown_name_is_refused_with_the_known_ones():
  with pytest.raises(errors.UsageError, match=r"norm = 'bath' is unknown: .* None, 'batch'"):
    errors.choose("norm", "bath", {None: 1, "batch": 2})


def _raise(error):
  raise error


@pytest.mark.parametrize(
  ("error", "code"),
  [
    (errors.UsageError("x"), 2),
    (errors.RejectedInputError("x"), 3),
    (errors.IntegrityError("x"), 4),
    (errors.EnvironmentFault("x"), 5),
    (errors.DivergedError("x"), 6),
    (errors.Preempted("x"), 42),
    (PermissionError(13, "Permission denied", "/out"), 5),
    (KeyboardInterrupt(), 128 + signal.SIGINT),
  ],
)
def test_each_error_has_its_exit_code(error, code):
  assert errors.run_command(lambda: _raise(error)) == code


def test_a_mistake_is_one_line_and_a_bug_keeps_its_traceback(capsys):
  errors.run_command(lambda: _raise(errors.UsageError("--job=x is unknown")))
  assert capsys.readouterr().err == "vggtf: ERROR 2: --job=x is unknown\n"
  with pytest.raises(ZeroDivisionError):
    errors.run_command(lambda: 1 // 0)


def test_exit_code_of_a_command_that_returns():
  assert errors.run_command(lambda: None) == 0
  assert errors.run_command(lambda: 3) == 3


def test_a_mistake_that_a_trace_meets_is_one_line_too(capsys):
  @tf.function
  def inner(x):
    if x > 0:
      raise errors.UsageError("the net has no classes")
    return x

  @tf.function
  def outer(x):
    for _ in tf.range(3):
      x = inner(x)
    return x

  assert errors.run_command(lambda: outer(tf.constant(1.0))) == 2
  assert capsys.readouterr().err == "vggtf: ERROR 2: the net has no classes\n"
