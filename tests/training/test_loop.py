import time

import pytest

from vggtf.training import loop, stopping

BATCH = 4


class Steps:
  """Takes steps in no time; the loss of a step is its number, counted from 1."""

  def __init__(self, done=0, stop_at=None):
    self.done, self.blocks, self.stop_at = done, [], stop_at

  def __call__(self, count):
    first = self.done + 1
    self.done += count
    if stop := self.stop_at is not None and self.done >= self.stop_at:
      self.done = self.stop_at
    count = self.done + 1 - first
    self.blocks.append(count)
    return loop.Block(count, {"loss": sum(range(first, self.done + 1)) / count}, stop, count / 4)


class Hook:
  def __init__(self, every, act=lambda progress: None):
    self.every, self.act, self.seen = every, act, []

  def __call__(self, progress):
    self.seen.append(progress)
    self.act(progress)


def run(hooks, until, done=0, steps_per_call=100, stop_at=None, stopped=False):
  steps = Steps(done, stop_at)
  reached = loop.run(steps, done, until, hooks, BATCH, steps_per_call)
  assert reached[1] == stopped
  return reached[0], steps.blocks


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
  assert [one.waited for one in often.seen] == [0.5] * 5
  assert [one.waited for one in seldom.seen] == [1.25] * 2
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


@pytest.mark.parametrize(("stop_at", "blocks"), [(3, [2, 1]), (4, [2, 2]), (10, [2] * 5)])
def test_a_stop_request_ends_the_run_with_its_step(stop_at, blocks):
  hook = Hook(2)
  assert run([hook], until=10, stop_at=stop_at, stopped=True) == (stop_at, blocks)
  assert [one.step for one in hook.seen] == list(range(2, stop_at + 1, 2))
  assert [one.images for one in hook.seen] == [2 * BATCH] * (stop_at // 2)


def test_a_hook_may_stop_the_run():
  def stop(progress):
    if progress.step == 4:
      raise stopping.Stopped

  before, after = Hook(2), Hook(2)
  assert run([before, Hook(2, stop), after], until=10, stopped=True) == (4, [2, 2])
  assert [one.step for one in before.seen] == [2, 4]
  assert [one.step for one in after.seen] == [2]


@pytest.mark.parametrize("done", [3, 5])
def test_what_was_left_over_is_done_first(done):
  left, hook = Hook(7), Hook(1)
  loop.run(Steps(done), done, 5, [hook], BATCH, 9, left_over=[left])
  assert [one.step for one in left.seen] == [done]
  assert [one.step for one in hook.seen] == list(range(done + 1, 6))

  def stop(progress):
    raise stopping.Stopped

  assert loop.run(Steps(), 0, 5, [hook], BATCH, 9, left_over=[Hook(1, stop)]) == (0, True)


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
