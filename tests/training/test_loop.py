import time
import types

import pytest

from vggtf.training import loop

BATCH = 4


class Steps:
  """Takes steps in no time; the loss of a step is its number, counted from 1."""

  def __init__(self, done=0):
    self.done, self.blocks = done, []

  def __call__(self, count):
    first = self.done + 1
    self.done += count
    self.blocks.append(count)
    return {"loss": sum(range(first, self.done + 1)) / count}


class Hook:
  def __init__(self, every, act=lambda progress: None):
    self.every, self.act, self.seen = every, act, []

  def __call__(self, progress):
    self.seen.append(progress)
    self.act(progress)


def run(hooks, until, done=0, steps_per_call=100, stop=None):
  steps = Steps(done)
  stop = stop or types.SimpleNamespace(requested=False)
  reached = loop.run(steps, done, until, hooks, BATCH, steps_per_call, stop)
  return reached, steps.blocks


def test_blocks_end_where_a_hook_is_due():
  hooks = [Hook(4), Hook(6)]
  assert run(hooks, until=14) == (14, [4, 2, 2, 4, 2])
  assert [one.step for one in hooks[0].seen] == [4, 8, 12, 14]
  assert [one.step for one in hooks[1].seen] == [6, 12, 14]


def test_blocks_are_no_longer_than_a_call_may_be():
  hook = Hook(5)
  assert run([hook], until=11, steps_per_call=3) == (11, [3, 2, 3, 2, 1])
  assert [one.step for one in hook.seen] == [5, 10, 11]


def test_hooks_are_told_the_means_of_their_own_steps_alone():
  often, seldom = Hook(2), Hook(5)
  run([often, seldom], until=10, steps_per_call=3)
  assert [one.scalars["loss"] for one in often.seen] == [1.5, 3.5, 5.5, 7.5, 9.5]
  assert [one.scalars["loss"] for one in seldom.seen] == [3.0, 8.0]
  assert [one.images for one in often.seen] == [2 * BATCH] * 5
  assert [one.images for one in seldom.seen] == [5 * BATCH] * 2
  assert sum(one.seconds for one in often.seen) == pytest.approx(
    sum(one.seconds for one in seldom.seen)
  )


def test_time_spent_in_hooks_is_not_the_steps():
  hook = Hook(1, lambda progress: time.sleep(0.05))
  run([hook], until=3)
  assert max(one.seconds for one in hook.seen) < 0.04


def test_hook_with_every_0_is_called_after_each_block():
  each = Hook(0)
  _, blocks = run([each, Hook(4)], until=9, steps_per_call=3)
  assert blocks == [3, 1, 3, 1, 1]
  assert [one.step for one in each.seen] == [3, 4, 7, 8, 9]
  assert [one.images for one in each.seen] == [BATCH * count for count in blocks]


def test_without_hooks_only_the_call_limits_a_block():
  assert run([], until=7, steps_per_call=5) == (7, [5, 2])


def test_a_resumed_run_keeps_the_beat_of_the_first():
  hook = Hook(5)
  assert run([hook], until=12, done=3) == (12, [2, 5, 2])
  assert [one.step for one in hook.seen] == [5, 10, 12]
  assert [one.images for one in hook.seen] == [2 * BATCH, 5 * BATCH, 2 * BATCH]


def test_hooks_are_called_in_their_order():
  order = []
  run([Hook(2, lambda _, name=name: order.append(name)) for name in "abc"], until=4)
  assert order == list("abcabc")


def test_a_stop_request_ends_the_run_after_the_block():
  stop = types.SimpleNamespace(requested=False)

  def ask(progress):
    stop.requested = progress.step >= 4

  other = Hook(2)
  assert run([Hook(2, ask), other], until=10, stop=stop) == (4, [2, 2])
  assert [one.step for one in other.seen] == [2, 4]  # those after it are called still
  assert run([other], until=10, stop=stop) == (0, [])


def test_nothing_is_left_to_do_at_the_end():
  hook = Hook(1)
  assert run([hook], until=5, done=5) == (5, [])
  assert hook.seen == []


def test_what_a_hook_raises_ends_the_run():
  def fail(progress):
    raise ValueError("no")

  after = Hook(1)
  with pytest.raises(ValueError, match="no"):
    run([Hook(1, fail), after], until=5)
  assert after.seen == []
