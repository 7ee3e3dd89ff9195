"""What processes agree on, three of them in threads of this one."""

import pytest
import tensorflow as tf

from tests import processes
from vggtf import errors, metrics
from vggtf.training import agreement, checkpoint, peers, stopping


@pytest.fixture
def ask():
  """Returns a function that gives each process one of the arguments and returns what they find."""
  with processes.joined(3) as asked:
    yield asked


def test_processes_with_different_data_are_all_refused_and_named(ask):
  """M5."""
  found = ask(lambda end, data: agreement.require(end, flags="a", data=data), "d", "e", "d")
  told = "worker 1 (b:1) and worker 0 (a:1) have different data; give all of them the same flags, "
  for error in found:
    assert isinstance(error, errors.UsageError)
    assert str(error).startswith(told)
  assert ask(lambda end, data: agreement.require(end, data=data), "d", "d", "d") == [None] * 3


@pytest.mark.parametrize(
  ("held", "common"),
  [
    (([], [], []), None),
    (([5], [5], [5]), 5),
    (([5, 10], [5, 10], [5, 10]), 10),
    (([5, 10, 15], [5, 10], [3, 5, 10, 15]), 10),
    (([0], [0], [0]), 0),
  ],
)
def test_all_go_on_from_the_newest_that_all_hold(ask, held, common, caplog):
  assert ask(agreement.newest_step, *held) == [common] * 3
  told = "not all processes hold the checkpoint of step 15 (worker 0 (a:1) holds 5, 10, 15; worker"
  assert (told in caplog.text) == (held[0] == [5, 10, 15])


def test_where_the_first_save_was_cut_short_all_begin_anew(ask, caplog):
  assert ask(agreement.newest_step, [5, 10], [], [5]) == [None] * 3
  assert (
    "worker 1 (b:1) holds none; worker 2 (c:1) holds 5): going on from the begin" in caplog.text
  )


@pytest.mark.parametrize("held", [([5, 10, 15], [], [5, 10]), ([5], [10], [5])])
def test_who_lost_its_checkpoints_does_not_send_the_others_to_step_0(ask, held):
  """P5."""
  for error in ask(agreement.newest_step, *held):
    assert isinstance(error, errors.IntegrityError)
    assert "the processes hold no checkpoint of one and the same step (worker 0 (a:1) h" in str(
      error
    )


def measure(end, given):
  def found():
    if isinstance(given, Exception):
      raise given
    return given

  return agreement.measurement(end, found)


def test_all_go_by_what_was_measured_of_all_shares(ask):
  """P10: the last of them has no image."""
  given = [{"top1_error": metrics.Mean(*one)} for one in ((3.0, 4.0), (2.0, 3.0), (0.0, 0.0))]
  found = ask(measure, *given)
  assert found == [{"top1_error": metrics.Mean(5.0, 7.0)}] * 3
  assert ask(lambda end, _: agreement.share(end), *given) == [
    {"worker": at, "workers": 3} for at in range(3)
  ]


def test_a_measurement_that_one_broke_off_stops_all(ask):
  given = {"top1_error": metrics.Mean(3.0, 7.0)}
  found = ask(measure, given, given, None)
  assert [type(one) for one in found] == [stopping.Stopped] * 3


def test_a_measurement_that_fails_in_one_process_fails_in_all(ask):
  given = {"top1_error": metrics.Mean(3.0, 7.0)}
  found = ask(measure, given, errors.IntegrityError("record 7 is damaged"), given)
  assert [type(one).exit_code for one in found] == [5, 4, 5]
  told = "worker 1 (b:1) could not measure: ERROR 4: record 7 is damaged"
  assert [str(one) for one in found] == [told, "record 7 is damaged", told]


@pytest.mark.parametrize(("keep", "attempts"), [(3, 1), (4, 2), (5, 3), (9, 3)])
def test_no_process_drops_what_all_hold_while_another_has_no_room(tmp_path, keep, attempts):
  """K6: another may save once more before it hears that the last attempt failed."""
  others = peers.Peers(names=("worker 0", "worker 1"))
  assert agreement.attempts(others, keep) == attempts
  fits, full = (checkpoint.Checkpoints(tmp_path / name, keep) for name in ("fits", "full"))
  state = tf.train.Checkpoint(value=tf.Variable(0.0))
  full.save(state, 100)
  for step in range(100, 100 * (attempts + agreement.AHEAD + 1), 100):
    fits.save(state, step)
  assert 100 in fits.sound_steps()
  assert full.sound_steps() == [100]


def test_a_process_alone_may_fail_thrice_and_several_must_keep_three():
  assert agreement.attempts(peers.Peers(), keep=1) == 3
  with pytest.raises(errors.UsageError, match=r"keep_checkpoints = 2: expected at least 3 for"):
    agreement.attempts(peers.Peers(names=("worker 0", "worker 1")), keep=2)
