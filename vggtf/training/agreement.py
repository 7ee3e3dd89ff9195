"""Whether the processes of a cluster are about to do the same, asked before the first step."""

from __future__ import annotations

import hashlib

import tensorflow as tf

from vggtf import errors


def require(strategy: tf.distribute.Strategy, step: int, **texts: str) -> None:
  """Compares this process's start with that of all others; does nothing where there are none.

  Without it, processes that resume at different steps train on without a word, each towards weights
  of its own.

  Args:
    strategy: where they run.
    step: that this process goes on from.
    **texts: what must be the same, by name.

  Raises:
    UsageError: in every process, if one differs; it names the steps, or what differs.
  """
  if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
    return
  own = tf.constant([[step, *map(_digest, texts.values())]], tf.int64)
  replicas = strategy.experimental_distribute_values_from_function(lambda _: own)
  found = strategy.gather(replicas, axis=0).numpy().tolist()
  steps = sorted({row[0] for row in found})
  if len(steps) > 1:
    raise errors.UsageError(
      f"the workers would go on from different steps: {', '.join(map(str, steps))}; remove the "
      "newer checkpoints until all have the same newest one"
    )
  for at, name in enumerate(texts, 1):
    if len({row[at] for row in found}) > 1:
      raise errors.UsageError(
        f"the workers have different {name}; give all of them the same flags and the same data"
      )


def _digest(text: str) -> int:
  return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
