import types

import numpy as np
import pytest
import tensorflow as tf

from tests.training import parts
from tests.training.test_hooks import events, progress, values
from vggtf import contracts, errors
from vggtf.training import hooks, loop, watching


class Feed:
  """Images of one level, that of the step before which they come."""

  def batches(self, first_step):
    image = np.full((1, 4, 6, 5, 3), first_step % 256, np.uint8)
    return tf.data.Dataset.from_tensor_slices(contracts.Batch(image, [[0] * 4], (), ())).repeat()


@pytest.fixture
def board(tmp_path):
  return hooks.TensorBoard(tmp_path, every=10)


def by_type(found):
  return {type(hook).__name__: hook for hook in found}


def test_only_what_is_asked_for_is_watched(board):
  net = types.SimpleNamespace(classes=10, trainable_variables=[])
  plain = ["WarnStuck", "WarnStarved", "Console", "TensorBoard"]
  for options, profile, more in (
    ({}, None, ["_Images"]),
    ({"images": 0, "weights_every": 5}, None, ["_Weights"]),
    ({"images": 0}, "3:4", ["Profile"]),
  ):
    found = watching.Watch(board, net, Feed(), **options).hooks(10, 0, 20, profile)
    assert list(by_type(found)) == plain + more
  assert found[3] is board


@pytest.mark.parametrize("option", ["images", "images_every", "weights_every"])
def test_numbers_that_are_none_are_refused(board, option):
  with pytest.raises(errors.UsageError, match=rf"watching.Watch.{option} = -1: expected . or more"):
    watching.Watch(board, None, None, **{option: -1})


def test_images_are_those_of_the_next_step_as_the_net_is_given_them(board, tmp_path):
  net = types.SimpleNamespace(classes=10)
  watch = watching.Watch(board, net, Feed(), images=3, images_every=20)
  show = by_type(watch.hooks(10, 0, 50, None))["_Images"]
  assert show.every == 20
  watch.show(next(iter(Feed().batches(7))), 0)
  show(progress(step=40))
  show(progress(step=50))  # the end of the run
  shown = events(tmp_path).Tensors("input")
  assert [event.step for event in shown] == [0, 40]
  for event, level in zip(shown, (7, 40), strict=True):
    width, height, *pictures = event.tensor_proto.string_val
    assert (width, height, len(pictures)) == (b"5", b"6", 3)
    assert (tf.io.decode_png(pictures[0]).numpy() == level).all()


def test_weights_are_looked_at_before_and_after_one_step(board, tmp_path):
  ours, given = parts.build(), parts.batches(5)
  watch = watching.Watch(board, ours.net, Feed(), images=0, weights_every=3)
  look = by_type(watch.hooks(10, 0, 5, None))["_Weights"]
  assert loop.run(lambda n: ours.take.block(given, n), 0, 5, [look], parts.BATCH, 50) == (5, False)
  found = events(tmp_path)
  for kind in ("weight_norm", "update_ratio"):
    for variable in ours.net.trainable_variables:
      ((step, value),) = values(found, f"{kind}/{variable.name.removesuffix(':0')}")
      assert step == 4
      assert value > 0


def test_a_weight_s_length_and_change_are_those_of_numpy(board, tmp_path):
  random = np.random.RandomState(0)
  before, change = random.rand(5, 4).astype(np.float32), random.rand(5, 4).astype(np.float32)
  weights, biases = (
    tf.Variable(before, name="fc/weights"),
    tf.Variable([0.0, 0.0], name="fc/biases"),
  )
  net = types.SimpleNamespace(classes=10, trainable_variables=[weights, biases])
  watch = watching.Watch(board, net, Feed(), images=0, weights_every=4)
  look = by_type(watch.hooks(10, 0, 9, None))["_Weights"]
  look(progress(step=4))
  assert look.every == 1
  weights.assign_add(change)
  biases.assign([3.0, 4.0])
  look(progress(step=5))
  assert look.every == 4
  look(progress(step=9))  # the end of the run
  assert look.every == 4
  found = events(tmp_path)
  ratio = np.linalg.norm(change) / np.linalg.norm(before)
  assert values(found, "update_ratio/fc/weights") == [(5, pytest.approx(ratio, rel=1e-6))]
  assert values(found, "weight_norm/fc/weights") == [
    (5, pytest.approx(np.linalg.norm(before + change), rel=1e-6))
  ]
  assert values(found, "weight_norm/fc/biases") == [(5, 5.0)]
  assert "update_ratio/fc/biases" not in found.Tags()["tensors"]


def test_steps_that_wait_for_images_are_warned_of_once_but_not_the_first(caplog):
  hook = watching.WarnStarved(every=10)
  hook(progress(step=10, seconds=2.0, waited=1.9))  # the input starts
  hook(progress(step=20, seconds=2.0, waited=0.2))
  assert caplog.messages == []
  for step in (30, 40):
    hook(progress(step=step, seconds=2.0, waited=0.5))
  (message,) = caplog.messages
  assert message.startswith("the steps before step 30 waited for images for 25 % of their time")
  assert "--job=input_benchmark" in message


@pytest.mark.parametrize("steps", ["", "5", "a:b", "0:3", "5:5", "7:6", "5:21", "2:6", "5:-6"])
def test_steps_that_cannot_be_profiled_are_refused(tmp_path, steps):
  expected = rf"--profile_steps={steps}: expected A:B, from 4 to 20"
  with pytest.raises(errors.UsageError, match=expected):
    watching.Profile(tmp_path, steps, done=3, until=20)


def test_the_steps_asked_for_are_profiled_and_no_other(tmp_path, monkeypatch):
  done, calls = [0], []

  def take(count):
    done[0] += count
    return loop.Block(count, {})

  profiler = types.SimpleNamespace(
    start=lambda folder: calls.append((folder, done[0])), stop=lambda: calls.append(done[0])
  )
  monkeypatch.setattr(tf.profiler, "experimental", profiler)
  profile = watching.Profile(tmp_path, "5:7", done=0, until=20)
  loop.run(take, 0, 20, [profile], batch_size=1, steps_per_call=50)
  assert calls == [(str(tmp_path), 5), 7]


def test_a_profile_is_one_that_tensorboard_finds(tmp_path):
  profile = watching.Profile(tmp_path, "1:2", done=0, until=2)
  profile(progress(step=1))
  tf.linalg.matmul(tf.ones((8, 8)), tf.ones((8, 8)))
  profile(progress(step=2))
  (found,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
  assert b"MatMul" in found.read_bytes()


def test_a_resumed_run_is_profiled_from_its_second_step_on(tmp_path):
  """The hooks are first called after the first step."""
  with pytest.raises(errors.UsageError, match=r"=4:6: expected A:B, from 5 to 6; the first step"):
    watching.Profile(tmp_path, "4:6", done=4, until=6)
  watching.Profile(tmp_path, "5:6", done=4, until=6)
