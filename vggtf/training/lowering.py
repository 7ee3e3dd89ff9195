"""The training step as the program that XLA compiles (HLO), without running it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from vggtf import contracts, errors


class OneOfMany(tf.distribute.OneDeviceStrategy):
  """A strategy that traces one of several replicas, of which none needs to be there.

  A sum over replicas becomes XLA's all-reduce, so that the program of one replica is that of all.
  """

  def __init__(self, replicas: int):
    super().__init__("/device:CPU:0")
    self._replicas = replicas

  @property
  def num_replicas_in_sync(self) -> int:
    """How many replicas the program is for."""
    return self._replicas

  def run(self, fn, args=(), kwargs=None, options=None):
    """Returns what `fn` returns in one replica."""
    with self.scope(), _Replica(self):
      return fn(*args, **(kwargs or {}))


class _Replica(tf.distribute.ReplicaContext):
  """A replica that learns its number when it runs."""

  def __init__(self, strategy: OneOfMany):
    number = gen_xla_ops.xla_replica_id() if strategy.num_replicas_in_sync > 1 else 0
    super().__init__(strategy, number)

  def all_reduce(self, reduce_op, value, options=None):
    """Returns the sums or means over the replicas of a nest of tensors."""
    count = self.num_replicas_in_sync
    if count == 1:
      return tf.nest.map_structure(tf.identity, value)

    def reduce(tensor):
      total = tf.raw_ops.CollectiveReduceV2(
        input=tensor,
        group_size=count,
        group_key=1,
        instance_key=1,
        ordering_token=[],
        merge_op="Add",
        final_op="Id",
      )
      return total / count if reduce_op in ("MEAN", tf.distribute.ReduceOp.MEAN) else total

    return tf.nest.map_structure(reduce, value)


@dataclasses.dataclass(frozen=True)
class Lowered:
  """A step as a program.

  Attributes:
    hlo: a serialized HloModuleProto. Its parameters are image, label, weight and, where they are
      learnt, boxes of a replica's part of a batch, then `captured`; its results `results`, then the
      new values of those variables that it changes, in the order of `captured`, as its aliases of
      parameters and results say.
    captured: what the step reads beside the batch: handles of variables, and constants.
    results: names of the step's sums over the global batch, in order.
  """

  hlo: bytes
  captured: tuple[tf.Tensor, ...]
  results: tuple[str, ...]

  def values(self) -> list[np.ndarray]:
    """Returns what the step would read now, in the order of `captured`."""
    return [_read(one).numpy() for one in self.captured]


def lower(
  take: Callable[[Iterator[contracts.Batch]], dict[str, tf.Tensor]],
  examples: int,
  side: int,
  boxes: bool = False,
) -> Lowered:
  """Returns the program of one step.

  Args:
    take: `TrainStep.take_one` of a step that was built for a `OneOfMany`.
    examples: images of one replica.
    side: of the images, pixels.
    boxes: whether the labels are contracts.Located.

  Raises:
    UsageError: the step does something that a device cannot do, such as call Python.
  """

  def step(image, label, weight, *box):
    labels = contracts.Located(label, *box) if boxes else label
    return take(iter([contracts.Batch(image, labels, weight, id=())]))

  function = tf.function(step, jit_compile=True)
  specs = (
    tf.TensorSpec((examples, side, side, 3), tf.uint8),
    tf.TensorSpec((examples,), tf.int32),
    tf.TensorSpec((examples,), tf.float32),
    *([tf.TensorSpec((examples, 4), tf.float32)] * boxes),
  )
  traced = function.get_concrete_function(*specs)
  try:
    hlo = function.experimental_get_compiler_ir(*specs)("hlo_serialized", platform_name="CPU")
  except (tf.errors.OpError, ValueError, TypeError) as error:
    reason = str(error).split("[[")[0].strip().replace("\n", " ")
    raise errors.UsageError(
      f"the step cannot be compiled for a device: {reason[:500]}; take out of the net, the loss "
      "and the optimizer what runs on the host, has strings, or sizes that change between steps"
    ) from error
  return Lowered(hlo, tuple(traced.captured_inputs), tuple(sorted(traced.structured_outputs)))


def _read(captured: tf.Tensor) -> tf.Tensor:
  """Returns a constant as it is, and the value of a variable that its handle stands for."""
  if captured.dtype != tf.resource:
    return captured
  (kind,) = captured._handle_data.shape_and_type  # an optimizer may keep nothing but handles
  return tf.raw_ops.ReadVariableOp(resource=captured, dtype=tf.as_dtype(kind.dtype))
