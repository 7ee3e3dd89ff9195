"""Which parts of the step XLA compiles, as it was measured."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from vggtf import contracts, errors

LARGE = 1 << 24  # elements of a net; 64 MiB a copy, more than most caches hold


def compiles(jit_compile: bool | str) -> bool:
  """Returns whether to compile the gradients; "auto" means on accelerators, not on a CPU.

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


def fuses(
  jit_compile: bool | str, optimizer: contracts.Optimizer, variables: Sequence[tf.Variable]
) -> bool:
  """Returns whether to compile the update, weight decay and all, into few passes over memory.

  On a CPU that is done to large nets unless `jit_compile` is False. Memory bounds their updates: of
  fc6 of net D, 411 MB a copy, momentum and decay took 1.5 times as long op by op, and twice with a
  gradient in bfloat16, which is widened in the same pass (docs/performance.md). Small nets stay in
  the caches and would never earn the second that compiling takes. XLA's sums have one thread on a
  CPU, so rules that take a norm, which are not `elementwise`, stay as they are.
  """
  large = sum(one.shape.num_elements() for one in variables) >= LARGE
  alone = getattr(optimizer, "elementwise", False)
  return jit_compile is not False and not compiles("auto") and large and alone
