"""The step against PyTorch in float64, and against itself in other forms."""

import concurrent.futures
import functools
import math
import multiprocessing
import os
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.models import torch_vgg
from tests.peers import needs_torch, torch
from tests.training import parts
from vggtf import contracts, errors
from vggtf.losses import boxes
from vggtf.optimizers import adamw, schedules
from vggtf.training import compilation, loss_scale, step

STEPS = 4
MOMENTUM = 0.9


class ByHand:
  """Net A in PyTorch and float64, with the update rule of Caffe written out."""

  def __init__(self, net, norm):
    features, classifier = torch_vgg.build("A", parts.CLASSES, parts.SIDE, width=1 / 16)
    torch_vgg.copy_weights(net, features, classifier)
    layers = []
    for layer in features:
      layers.append(layer)
      if norm and isinstance(layer, torch.nn.Conv2d):
        layers.append(torch.nn.BatchNorm2d(layer.out_channels, eps=1e-5, momentum=0.1))
    self.net = torch.nn.Sequential(*layers, classifier).double().train()
    self.parameters = list(self.net.parameters())
    self.velocities = [torch.zeros_like(one) for one in self.parameters]

  def step(self, batch, rate):
    """Takes one step and returns its scalars."""
    image, label, weight = batch
    logits = self.net(torch_vgg.prepare(image, parts.MEAN_RGB).double())
    label, weight = torch.tensor(label).long(), torch.tensor(weight).double()
    losses = torch.nn.functional.cross_entropy(logits, label, reduction="none")
    self.net.zero_grad()
    ((losses * weight).sum() / parts.BATCH).backward()
    norm = sum(float((one.grad**2).sum()) for one in self.parameters) ** 0.5
    with torch.no_grad():
      for parameter, velocity in zip(self.parameters, self.velocities, strict=True):
        matrix = parameter.ndim > 1
        gradient = parameter.grad + (parts.DECAY * parameter if matrix else 0)
        velocity.mul_(MOMENTUM).add_(gradient, alpha=rate if matrix else 2 * rate)
        parameter.sub_(velocity)
    better = (logits > logits.gather(1, label[:, None])).sum(1)
    return {
      "loss": float((losses.detach() * weight).sum() / weight.sum()),
      "top1_error": float(((better >= 1) * weight).sum() / weight.sum()),
      "top5_error": float(((better >= 5) * weight).sum() / weight.sum()),
      "gradient_norm": norm,
      "learning_rate": rate,
      "weight_decay": parts.DECAY / 2 * sum(float((p**2).sum()) for p in self.matrices()),
    }

  def matrices(self):
    return [one.detach() for one in self.parameters if one.ndim > 1]

  def norms(self):
    return [layer for layer in self.net if isinstance(layer, torch.nn.BatchNorm2d)]


def distance(ours, theirs):
  return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


class Taken:
  """Steps on one device. scalars: of each step; drawn, values: before and after them."""

  def __init__(self, norm=None, dropout=0.0):
    self.parts = parts.build(norm=norm, dropout=dropout)
    self.norm, self.drawn = norm, parts.values(self.parts)
    self.by_hand = ByHand(self.parts.net, norm) if torch else None
    iterator = parts.batches(STEPS)
    self.scalars = [self.parts.take(iterator, 1) for _ in range(STEPS)]
    self.values = parts.values(self.parts)


@pytest.fixture(scope="module")
def plain():
  return Taken()


@pytest.fixture(scope="module")
def normed():
  return Taken(norm="batch")


@pytest.fixture(scope="module")
def dropped():
  return Taken(norm="batch", dropout=0.5)


@needs_torch
@pytest.mark.parametrize("taken", ["plain", "normed"])
def test_steps_are_those_of_torch_in_float64(taken, request):
  taken = request.getfixturevalue(taken)
  ours, norm, drawn, by_hand = taken.parts, taken.norm, taken.drawn, taken.by_hand
  given = parts.arrays(STEPS)
  for index, rate in enumerate(parts.RATES):
    expected = by_hand.step((given.image[index], given.label[index], given.weight[index]), rate)
    found = taken.scalars[index]
    assert found.keys() == expected.keys()
    for name, value in expected.items():
      # float32 rounding over four steps; with norms 3e-5, and 2e-3 for the gradients.
      rounding = 5e-3 if norm and name == "gradient_norm" else 1e-4
      assert found[name] == pytest.approx(value, rel=rounding), (name, index)

  assert ours.done.numpy() == STEPS
  for layer, theirs in zip(
    ours.net.layers.values(), torch_vgg.weighted(by_hand.net[:-1], by_hand.net[-1]), strict=True
  ):
    before = torch_vgg.to_torch(drawn[f"vgg/{layer.weights.name}"], theirs)
    expected = theirs.weight.detach().numpy()
    # float32: 4e-6 to 1.5e-5 by the processor's kernels, 5e-5 with norms.
    assert distance(torch_vgg.to_torch(layer.weights.numpy(), theirs), expected) < 1e-4
    # The change is compared too: it is small beside the weights.
    change = torch_vgg.to_torch(layer.weights.numpy(), theirs) - before
    assert distance(change, expected - before) < (1e-2 if norm else 2e-3)
    if not norm:  # a norm takes the mean away, so the gradient of a bias before it is rounding
      assert distance(layer.biases.numpy(), theirs.bias.detach().numpy()) < 2e-3
  assert len(ours.net.norms) == len(by_hand.norms()) == (8 if norm else 0)
  for layer, theirs in zip(ours.net.norms.values(), by_hand.norms(), strict=True):
    assert distance(layer.moving_mean.numpy(), theirs.running_mean.numpy()) < 1e-4
    assert distance(layer.moving_variance.numpy(), theirs.running_var.numpy()) < 1e-4
    assert distance(layer.scale.numpy(), theirs.weight.detach().numpy()) < 1e-4
    assert distance(layer.offset.numpy(), theirs.bias.detach().numpy()) < 1e-2


def test_steps_in_one_call_are_those_of_many_calls_bit_for_bit(dropped):
  together = parts.build(norm="batch", dropout=0.5)
  means, single = together.take(parts.batches(STEPS), STEPS), dropped.scalars
  for name, value in parts.values(together).items():
    np.testing.assert_array_equal(value, dropped.values[name], err_msg=name)
  assert together.done.numpy() == dropped.parts.done.numpy() == STEPS
  weights = parts.arrays(STEPS).weight.sum(axis=1)
  for name in ("loss", "top1_error", "top5_error"):  # means over images
    mean = np.average([one[name] for one in single], weights=weights)
    assert means[name] == pytest.approx(mean, rel=1e-6)
  for name in ("learning_rate", "weight_decay"):  # of the last step
    assert means[name] == single[-1][name]


def test_xla_takes_the_same_steps_with_the_same_dropout(dropped):
  compiled = parts.build(norm="batch", dropout=0.5, jit_compile=True)
  iterator = parts.batches(STEPS)
  for expected in dropped.scalars:
    assert compiled.take(iterator, 1)["loss"] == pytest.approx(expected["loss"], rel=1e-5)
  found, drawn = parts.values(compiled), dropped.drawn
  for name, value in dropped.values.items():
    np.testing.assert_allclose(
      found[name], value, rtol=0, atol=1e-5 * max(1, abs(value).max()), err_msg=name
    )
  fc7 = "vgg/fc7/weights:0"  # its gradients have the zeros of the masks
  assert distance(found[fc7] - drawn[fc7], dropped.values[fc7] - drawn[fc7]) < 1e-3


@pytest.mark.parametrize(
  "options",
  [
    {"compute_dtype": "bfloat16", "average": 0.5},
    pytest.param({"norm": "batch", "average": 0.5}, marks=pytest.mark.slow),
    pytest.param({"optimizer": adamw.AdamW, "slices": 2}, marks=pytest.mark.slow),
    pytest.param(
      {"compute_dtype": "float16", "loss_scale": lambda: loss_scale.Dynamic(2.0**4)},
      marks=pytest.mark.slow,
    ),
  ],
)
def test_an_update_in_one_pass_is_that_of_many(options, monkeypatch):
  build = functools.partial(
    parts.build, schedule=schedules.Constant(1e-5), jit_compile="auto", **options
  )
  taken = []
  for large in (compilation.LARGE, 1):
    monkeypatch.setattr(compilation, "LARGE", large)
    ours = build()
    assert (ours.take._apply == ours.take._update) == (large > 1)
    drawn = parts.values(ours)
    scalars = ours.take(parts.batches(STEPS), STEPS)
    averages = ours.averaging.averages if ours.averaging else []
    taken.append((scalars, parts.values(ours), [one.numpy() for one in averages]))
  (plain, expected, followed), (fused, found, following) = taken
  assert fused == pytest.approx(plain, rel=1e-5)
  for name, value in expected.items():
    moved = np.linalg.norm(value - drawn[name])
    assert np.linalg.norm(found[name] - value) <= 1e-3 * moved + 1e-7 * np.linalg.norm(value), name
  for one, value in zip(following, followed, strict=True):
    np.testing.assert_allclose(one, value, rtol=1e-5, atol=1e-6)


def test_a_run_updated_in_one_pass_goes_on_bit_for_bit(monkeypatch, tmp_path):
  monkeypatch.setattr(compilation, "LARGE", 1)
  build = functools.partial(parts.build, jit_compile="auto", compute_dtype="bfloat16")
  whole, resumed = build(), build(seed=1)
  batches = parts.batches(STEPS)
  whole.take(batches, 2)
  prefix = whole.state.write(str(tmp_path / "state"))
  resumed.state.read(prefix).assert_consumed()
  rest = parts.batches(STEPS)
  for _ in range(2):
    next(rest)
  assert resumed.take(rest, 2) == whole.take(batches, 2)
  for name, value in parts.values(whole).items():
    np.testing.assert_array_equal(parts.values(resumed)[name], value, err_msg=name)


@pytest.mark.parametrize(("slices", "expected"), [(1, tf.bfloat16), (2, tf.float32)])
def test_gradients_in_bfloat16_are_widened_where_they_are_added_up(slices, expected):
  ours = parts.build(compute_dtype="bfloat16", slices=slices)
  batch = tf.nest.map_structure(lambda one: tf.constant(one[0]), parts.arrays(1))
  compute = tf.function(lambda *given: ours.take._gradients(*given)[0])
  seed, first = tf.constant([0, 0]), tf.constant(0)
  found = compute(batch.image, batch.label, batch.weight, seed, first)
  kinds = {v.name: one.dtype for v, one in zip(ours.net.trainable_variables, found, strict=True)}
  assert kinds.pop("fc8/weights:0") == kinds.pop("fc8/biases:0") == tf.float32
  assert set(kinds.values()) == {expected}


def test_dropout_differs_from_step_to_step_and_with_the_seed_of_the_run():
  still = schedules.Constant(0.0)
  ours = parts.build(dropout=0.5, schedule=still)
  given = parts.arrays(1)
  same = tf.data.Dataset.from_tensor_slices(given).repeat()
  iterator = iter(same)
  losses = [ours.take(iterator, 1)["loss"] for _ in range(3)]
  assert len(set(losses)) == 3
  ours.done.assign(0)
  assert ours.take(iterator, 1)["loss"] == losses[0]


def test_plateau_that_was_told_between_calls_lowers_the_rate_of_the_next():
  schedule = schedules.Plateau(initial=1e-3, factor=0.1, drops=1, patience=1)
  ours = parts.build(schedule=schedule)
  iterator = parts.batches(3)
  schedule.observe(0.5)
  assert ours.take(iterator, 1)["learning_rate"] == pytest.approx(1e-3)
  schedule.observe(0.5)
  before = ours.net.layers["fc8"].weights.numpy()
  assert ours.take(iterator, 1)["learning_rate"] == pytest.approx(1e-4)
  schedule.observe(math.nan)
  assert ours.take(iterator, 1)["learning_rate"] == pytest.approx(1e-4)
  assert not np.array_equal(before, ours.net.layers["fc8"].weights.numpy())


def test_batch_that_replicas_cannot_share_is_refused():
  class OfThree:
    num_replicas_in_sync = 3

  ours = (OfThree(), None, None, None, None, None, None)
  with pytest.raises(errors.UsageError, match=r"batch_size = 8 .* among 3 replicas: .* multiple"):
    step.TrainStep(*ours, batch_size=8, seed=0)


@pytest.mark.parametrize("head", ["box", "features"])
def test_net_without_classes_is_refused(head):
  ours = parts.build(head=head)
  with pytest.raises(errors.UsageError, match="the net has no classes to train"):
    ours.take(parts.batches(1), 1)


def with_boxes(steps):
  """Returns the iterator of `parts.batches` with a box for each image."""
  given = parts.arrays(steps)
  random = np.random.RandomState(4).uniform(0.2, 0.8, (*given.label.shape, 4))
  labels = contracts.Located(given.label, random.astype(np.float32))
  return iter(tf.data.Dataset.from_tensor_slices(given._replace(label=labels)))


@pytest.mark.slow
def test_boxes_are_learnt_in_slices_as_at_once():
  slow = schedules.Steps(boundaries=(2,), initial=1e-6)  # no norm: features are in the hundreds
  learn = functools.partial(parts.build, loss=boxes.Euclidean(), head="class_boxes", schedule=slow)
  whole, sliced = learn(), learn(slices=4)
  expected, found = (one.take(with_boxes(2), 2) for one in (whole, sliced))
  assert found == pytest.approx(expected, rel=1e-5)
  assert 0 <= found["localisation_error"] <= 1
  assert "top1_error" not in found
  after = parts.values(sliced)
  for name, value in parts.values(whole).items():
    np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_boxes_for_a_loss_of_classes_are_refused():
  with pytest.raises(errors.UsageError, match=r"TrainingFeed.boxes = True, but Softmax is no loss"):
    parts.build().take(with_boxes(1), 1)


def test_the_time_that_steps_wait_for_their_batches_is_measured():
  options = tf.data.Options()
  options.experimental_optimization.inject_prefetch = False

  def come_late(batch):
    tf.numpy_function(lambda: time.sleep(0.2), [], [])
    return batch

  late = tf.data.Dataset.from_tensor_slices(parts.arrays(3)).map(come_late).with_options(options)
  start = time.perf_counter()
  block = parts.build().take.block(iter(late), 3)
  assert 3 * 0.2 <= block.waited <= time.perf_counter() - start


def test_one_core_does_not_take_computing_for_waiting():
  spawn = multiprocessing.get_context("spawn")  # a fork would have TensorFlow's threads
  with concurrent.futures.ProcessPoolExecutor(1, spawn) as process:
    assert process.submit(share_of_waiting_on_one_core).result() < 0.5


def share_of_waiting_on_one_core() -> float:
  """Returns in what share of their time steps wait for batches that have long been there."""
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # TensorFlow takes a thread a core
  ours, given = parts.build(), tf.data.Dataset.from_tensor_slices(parts.arrays(1))
  ours.take.block(batches := iter(given.repeat()), 1)  # traces
  start = time.perf_counter()
  return ours.take.block(batches, 10).waited / (time.perf_counter() - start)
