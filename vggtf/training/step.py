"""The training step: gradients, their sum over replicas, the update; n of them a host call.

The one form that runs under every strategy of tf.distribute: an outer tf.function that is not
compiled by XLA; inside `strategy.run` the gradients are one function that may be, the sum over
replicas follows outside of it, and the update is local and equal on every replica.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from vggtf import contracts, errors, metrics
from vggtf.training import accumulation, loop
from vggtf.training import averaging as averages


def compiles(jit_compile: bool | str) -> bool:
  """Returns whether to compile with XLA; "auto" means on accelerators, not on a CPU.

  On 2 CPU cores the compiled VGG-16 step ran at 0.81 (float32) and 0.45 (bfloat16) of the plain
  one's speed: XLA's CPU convolutions do without oneDNN.
  """
  if jit_compile == "auto":
    return any(device.device_type != "CPU" for device in tf.config.list_logical_devices())
  if not isinstance(jit_compile, bool):
    raise errors.UsageError(
      f"TrainStep.jit_compile = {jit_compile!r}: expected True, False or 'auto'"
    )
  return jit_compile


class TrainStep:
  """Steps of one run; `step`, a variable, counts them.

  Args:
    strategy: where they run; everything else was built in its scope.
    model: the net.
    loss: of each example.
    weight_decay: added once to the summed gradients.
    optimizer: built for the model's trainable variables.
    schedule: the learning rate of each step.
    step: int64 variable, the steps done.
    batch_size: images of a global batch.
    seed: of the dropout masks, with the step.
    averaging: follows the model's variables; built for all of them.
    jit_compile: XLA for the gradients: True, False, or "auto" (not on a CPU).
    slices: in how many a replica computes its part of a batch, one after another: the same steps
      in less memory; batch norm's statistics are then a slice's (accumulation.py).

  Raises:
    UsageError: replicas or slices cannot share a batch in equal parts, or an option has no such
      value.
  """

  def __init__(
    self,
    strategy: tf.distribute.Strategy,
    model: contracts.Model,
    loss: contracts.Loss,
    weight_decay,
    optimizer: contracts.Optimizer,
    schedule: contracts.Schedule,
    step: tf.Variable,
    batch_size: int,
    seed: int,
    averaging: averages.ExponentialMovingAverage | None = None,
    jit_compile: bool | str = "auto",
    slices: int = 1,
  ):
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
      raise errors.UsageError(
        f"TrainingFeed.batch_size = {batch_size} cannot be divided equally among {replicas} "
        f"replicas: choose a multiple of {replicas}"
      )
    self._strategy, self._model, self._loss = strategy, model, loss
    self._weight_decay, self._optimizer, self._schedule = weight_decay, optimizer, schedule
    self._step, self._batch_size, self._seed = step, batch_size, seed
    self._averaging = averaging
    with tf.device("CPU:0"):
      self._asked = tf.Variable(0.0, trainable=False, name="asked")
    self._variables = model.trainable_variables
    self._updated: list[tf.Variable] = []  # by layers that keep statistics; known once traced
    compute = accumulation.in_slices(self._compute, slices, batch_size // replicas)
    self._gradients = tf.function(compute, jit_compile=True) if compiles(jit_compile) else compute
    self._run = tf.function(self._run_steps)

  def stop_soon(self) -> None:
    """Has all processes stop after the step that is being taken, or the next one; in any thread.

    Each step sums over the replicas, with its scalars, how many were asked to: so all end with the
    same one, and it costs no message of its own.
    """
    self._asked.assign(1.0)

  def __call__(self, batches: Iterator, count: int) -> dict[str, float]:
    """Takes steps and returns the means of their scalars; see `block`."""
    return self.block(batches, count).scalars

  def block(self, batches: Iterator, count: int) -> loop.Block:
    """Takes `count` steps, fewer where a process is asked to stop.

    Args:
      batches: iterator of a distributed data set of contracts.Batch.
      count: how many steps.

    Returns:
      Whose scalars are "loss" (mean over images, without weight decay), "weight_decay",
      "top1_error" and "top5_error" (in training, on the batches as they came), "learning_rate" (of
      the last step).
    """
    sums, taken, rate = self._run(batches, tf.constant(count))
    weight, asked = float(sums.pop("weight")), float(sums.pop("asked"))
    means = {name: float(total) / weight for name, total in sums.items()}
    decay = float(self._weight_decay.value(self._variables))
    means |= {"weight_decay": decay, "learning_rate": float(rate)}
    return loop.Block(int(taken), means, stop=asked > 0)

  def _run_steps(self, batches, count: tf.Tensor):
    before = self._step.read_value()
    # One step outside the loop gives the sums their structure.
    sums = self.take_one(batches, self._asked.read_value())
    for _ in tf.range(count - 1):
      if sums["asked"] > 0:
        break
      more = self.take_one(batches, self._asked.read_value())
      sums = tf.nest.map_structure(tf.add, sums, more)
    return sums, self._step - before, self._schedule(self._step - 1)

  def take_one(self, batches: Iterator, asked: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
    """Takes one step inside a tf.function, and returns its sums over the global batch.

    Among them is `asked`, if given: how many replicas are asked to stop.
    """
    sums = self._strategy.run(self._replica_step, args=(next(batches), asked))
    self._step.assign_add(1)
    return tf.nest.map_structure(lambda s: self._strategy.experimental_local_results(s)[0], sums)

  def _replica_step(self, batch: contracts.Batch, asked: tf.Tensor | None) -> dict[str, tf.Tensor]:
    seed = tf.stack([self._seed, tf.cast(self._step, tf.int32)])
    context = tf.distribute.get_replica_context()
    first_example = context.replica_id_in_sync_group * tf.shape(batch.label)[0]
    gradients, updates, sums = self._gradients(
      batch.image, batch.label, batch.weight, seed, first_example
    )
    if asked is not None:
      sums["asked"] = tf.identity(asked)  # on the replica's device
    gradients, sums = context.all_reduce(tf.distribute.ReduceOp.SUM, (gradients, sums))
    gradients = self._weight_decay.add(gradients, self._variables)
    self._optimizer.apply(gradients, self._schedule(self._step))
    if updates:
      updates = context.all_reduce(tf.distribute.ReduceOp.MEAN, updates)
      for variable, value in zip(self._updated, updates, strict=True):
        variable.assign(value)
    if self._averaging:
      self._averaging.update(self._step)
    return sums

  def _compute(self, image, label, weight, seed, first_example):
    """Returns gradients of the global batch's mean loss, new statistics, and sums for the log."""
    training = contracts.Training(seed, first_example)
    with tf.GradientTape() as tape:
      outputs = self._model(image, training)
      if outputs.logits is None:
        raise errors.UsageError(
          "the net has no classes to train: its head is another than 'classifier'"
        )
      losses = self._loss(outputs, label) * weight
      mean = tf.reduce_sum(losses) / self._batch_size
    # A head that the loss does not look at has a gradient of 0.
    unconnected = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(mean, self._variables, unconnected_gradients=unconnected)
    self._updated = [variable for variable, _ in training.updates]
    sums = {
      "loss": tf.reduce_sum(losses),
      "top1_error": tf.reduce_sum(metrics.top_k_errors(outputs.logits, label, 1) * weight),
      "top5_error": tf.reduce_sum(metrics.top_k_errors(outputs.logits, label, 5) * weight),
      "weight": tf.reduce_sum(weight),
    }
    return gradients, [value for _, value in training.updates], sums
