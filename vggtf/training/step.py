"""The training step: gradients, their sum over replicas, the update; n of them a host call.

The one form that runs under every strategy of tf.distribute: an outer tf.function that is not
compiled by XLA; inside `strategy.run` the gradients are one function that may be, the sum over
replicas follows outside of it, and the update is local and equal on every replica.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import tensorflow as tf

from vggtf import contracts, errors, metrics, precision
from vggtf.training import accumulation, compilation, loop, pairing, reduction
from vggtf.training import averaging as averages
from vggtf.training import loss_scale as loss_scales


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
    jit_compile: XLA for the gradients: True, False, or "auto" (not on a CPU). Unless it is False, a
      CPU updates large nets by XLA, see compilation.py.
    slices: in how many a replica computes its part of a batch, one after another: the same steps
      in less memory; batch norm's statistics are then a slice's (accumulation.py).
    all_reduce_dtype: in which gradients are summed over replicas: "float32", or "bfloat16" or
      "float16", half the bytes.
    loss_scale: constructor of the loss's scale; a net in float16 must have one.

  Attributes:
    loss_scale: None without; its variables belong to the run's state.

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
    all_reduce_dtype: str = "float32",
    loss_scale: Callable[[], loss_scales.Dynamic] | None = None,
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
    self._all_reduce_type = precision.compute_type(all_reduce_dtype, "TrainStep.all_reduce_dtype")
    if getattr(model, "compute_type", None) == tf.float16 and not loss_scale:
      raise errors.UsageError(
        "a net that computes in float16 needs a scaled loss: add --gin_file=gin/with/float16.gin, "
        "or bind step.TrainStep.loss_scale = @loss_scale.Dynamic"
      )
    with strategy.scope():
      self.loss_scale = loss_scale() if loss_scale else None
    with tf.device("CPU:0"):
      self._asked = tf.Variable(0.0, trainable=False, name="asked")
    self._variables = model.trainable_variables
    self._updated: list[tf.Variable] = []  # by layers that keep statistics; known once traced
    compute = accumulation.in_slices(self._compute, slices, batch_size // replicas)
    compiled = compilation.compiles(jit_compile)
    self._gradients = tf.function(compute, jit_compile=True) if compiled else compute
    fused = compilation.fuses(jit_compile, optimizer, self._variables)
    self._apply = tf.function(self._update, jit_compile=True) if fused else self._update
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
      "top1_error" and "top5_error" or what the loss judges (in training, on the batches as they
      came), "gradient_norm" (of the first step; of all gradients together, without weight decay; 0
      for a skipped step), "learning_rate" (of the last step); with a loss scale "loss_scale" and
      "skipped_steps", the share of them.

    Raises:
      DivergedError: the gradients overflow float16 whatever the loss scale.
    """
    before = self.loss_scale.state() if self.loss_scale else ()
    sums, taken, rate = self._run(batches, tf.constant(count))
    sums, taken = {name: float(total) for name, total in sums.items()}, int(taken)
    weight, asked, waited = sums.pop("weight"), sums.pop("asked"), sums.pop("waited")
    norm = sums.pop("gradient_norm")
    means = {name: total / weight for name, total in sums.items()}
    decay = float(self._weight_decay.value(self._variables))
    means |= {"gradient_norm": norm, "weight_decay": decay, "learning_rate": float(rate)}
    means |= self.loss_scale.tell(taken, *before) if self.loss_scale else {}
    return loop.Block(taken, means, asked > 0, waited)

  def _run_steps(self, batches, count: tf.Tensor):
    before = self._step.read_value()
    # One step outside the loop gives the sums their structure. It alone tells the gradients'
    # length, which takes one more pass over them.
    sums = self._take_timed(batches, norm=True)
    norm = sums.pop("gradient_norm")
    for _ in tf.range(count - 1):
      if sums["asked"] > 0:
        break
      sums = tf.nest.map_structure(tf.add, sums, self._take_timed(batches, norm=False))
    sums["gradient_norm"] = norm
    return sums, self._step - before, self._schedule(self._step - 1)

  def _take_timed(self, batches: Iterator, norm: bool) -> dict[str, tf.Tensor]:
    """Takes one step and returns its sums, with how many seconds it "waited" for its batch.

    It begins where the step before has its gradients, for the loop asks whether to go on. So what
    the input prepares in the meantime costs nothing, and is not counted.
    """
    began = tf.timestamp()
    with tf.control_dependencies([began]):
      batch = next(batches)
    with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
      waited = tf.timestamp() - began
    with tf.control_dependencies([waited]):  # a single thread might compute first
      batch = tf.nest.map_structure(_here, batch, expand_composites=True)
    return self.take_one(iter([batch]), self._asked.read_value(), norm) | {"waited": waited}

  def take_one(
    self, batches: Iterator, asked: tf.Tensor | None = None, norm: bool = True
  ) -> dict[str, tf.Tensor]:
    """Takes one step inside a tf.function, and returns its sums over the global batch.

    Among them is `asked`, if given: how many replicas are asked to stop. `norm`: whether the
    "gradient_norm" is, too.
    """
    take = functools.partial(self._replica_step, norm=norm)
    sums = self._strategy.run(take, args=(next(batches), asked))
    self._step.assign_add(1)
    return tf.nest.map_structure(lambda s: self._strategy.experimental_local_results(s)[0], sums)

  def _replica_step(
    self, batch: contracts.Batch, asked: tf.Tensor | None, norm: bool
  ) -> dict[str, tf.Tensor]:
    seed = tf.stack([self._seed, tf.cast(self._step, tf.int32)])
    context = tf.distribute.get_replica_context()
    first_example = context.replica_id_in_sync_group * tf.shape(batch.weight)[0]
    gradients, statistics, sums = self._gradients(
      batch.image, batch.label, batch.weight, seed, first_example
    )
    if asked is not None:
      sums["asked"] = tf.identity(asked)  # on the replica's device
    gradients = reduction.sum_over_replicas(gradients, self._all_reduce_type)
    statistics, sums = reduction.sum_over_replicas((statistics, sums))
    statistics = [one / context.num_replicas_in_sync for one in statistics]
    step, finite = self._step.read_value(), True
    if self.loss_scale:
      gradients = self.loss_scale.unscale(gradients)
      finite = self.loss_scale.observe(gradients)
      tf.cond(finite, lambda: self._apply(gradients, statistics, step), lambda: None)
    else:
      self._apply(gradients, statistics, step)
    return sums | ({"gradient_norm": tf.where(finite, _norm(gradients), 0.0)} if norm else {})

  def _update(
    self, gradients: list[tf.Tensor], statistics: list[tf.Tensor], step: tf.Tensor
  ) -> None:
    """Gives this replica's variables their new values."""
    gradients = [tf.cast(one, tf.float32) for one in gradients]
    gradients = self._weight_decay.add(gradients, self._variables)
    self._optimizer.apply(gradients, self._schedule(step))
    for variable, value in zip(self._updated, statistics, strict=True):
      # The kernel takes a handle, which inside a replica is that replica's own.
      tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
    if self._averaging:
      self._averaging.update(step)

  def _compute(self, image, label, weight, seed, first_example):
    """Returns gradients of the global batch's mean loss, new statistics, and sums for the log.

    The gradients are as many times larger as the loss scale says, and of the type that they were
    computed in.
    """
    training = contracts.Training(seed, first_example)
    with tf.GradientTape() as tape:
      outputs = self._model(image, training)
      pairing.check(self._loss, outputs, label)
      losses = self._loss(outputs, label) * weight
      mean = tf.reduce_sum(losses) / self._batch_size
      if self.loss_scale:
        mean *= self.loss_scale.scale
    # A head that the loss does not look at has a gradient of 0.
    unconnected = tf.UnconnectedGradients.ZERO
    gradients = tape.gradient(mean, self._variables, unconnected_gradients=unconnected)
    self._updated = [variable for variable, _ in training.updates]
    wrong = getattr(self._loss, "judge", _judge_classes)(outputs, label)
    sums = {
      "loss": tf.reduce_sum(losses),
      **{name: tf.reduce_sum(one * weight) for name, one in wrong.items()},
      "weight": tf.reduce_sum(weight),
    }
    gradients = [precision.before_widening(one) for one in gradients]
    return gradients, [value for _, value in training.updates], sums


def _here(tensor: tf.Tensor) -> tf.Tensor:
  """Returns the same tensor on the same device, from an op of the graph that is being made."""
  with tf.device(tensor.device):
    return tf.identity(tensor)


def _judge_classes(outputs: contracts.Outputs, label: tf.Tensor) -> dict[str, tf.Tensor]:
  return {f"top{k}_error": metrics.top_k_errors(outputs.logits, label, k) for k in (1, 5)}


def _norm(tensors: list[tf.Tensor]) -> tf.Tensor:
  """Returns the length of all of them as one vector."""
  squares = [tf.nn.l2_loss(tf.cast(one, tf.float32)) for one in tensors]
  return tf.sqrt(2.0 * tf.add_n(squares))
