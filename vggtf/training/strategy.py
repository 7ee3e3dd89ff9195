"""Where a run computes: constructors of tf.distribute strategies, for gin to bind."""

from collections.abc import Iterator

import tensorflow as tf

from vggtf import errors


def one_device(device: str | None = None) -> tf.distribute.Strategy:
  """Returns a strategy for one device.

  Args:
    device: such as "GPU:0" or "CPU:0"; None takes the first GPU, or the CPU where there is none.

  Raises:
    EnvironmentFault: the device that was asked for is not there; nothing falls back in silence.
  """
  logical = [d.name.removeprefix("/device:") for d in tf.config.list_logical_devices()]
  if device is None:
    device = next((name for name in logical if name.startswith("GPU")), "CPU:0")
  if device not in logical:
    raise errors.EnvironmentFault(
      f"one_device.device = {device!r} is not on this machine; it has {', '.join(logical)}"
    )
  return tf.distribute.OneDeviceStrategy(f"/device:{device}")


def distribute(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset) -> Iterator:
  """Returns an iterator of per-replica batches, each global batch divided among the replicas.

  For one replica it is the data set's own. tf.distribute's is built on GeneratorDataset, which, on
  Python 3.11, has glibc return every block of over 128 KB to the system at once (TensorFlow's
  ApplyPython311MemoryPatch); the page faults made the quickstart net's step 2.5 times as long.
  """
  if strategy.num_replicas_in_sync == 1:
    return iter(dataset)
  # Not distribute_datasets_from_function, which would give each replica a whole batch.
  return iter(strategy.experimental_distribute_dataset(dataset))
