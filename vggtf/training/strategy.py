"""Where a run computes: constructors of tf.distribute strategies, for gin to bind."""

import logging
from collections.abc import Iterator

import tensorflow as tf

from vggtf import errors, malloc
from vggtf.training import cluster

_log = logging.getLogger(__name__)


def one_device(device: str | None = None) -> tf.distribute.Strategy:
  """Returns a strategy for one device.

  Args:
    device: such as "GPU:0" or "CPU:0"; None takes the first GPU, or the CPU where there is none.

  Raises:
    EnvironmentFault: the device that was asked for is not there; nothing falls back in silence.
  """
  logical = _logical_devices()
  if device is None:
    device = next((name for name in logical if name.startswith("GPU")), "CPU:0")
  if device not in logical:
    raise errors.EnvironmentFault(
      f"one_device.device = {device!r} is not on this machine; it has {', '.join(logical)}"
    )
  return tf.distribute.OneDeviceStrategy(f"/device:{device}")


def mirrored(devices: int | tuple[str, ...] | None = None) -> tf.distribute.Strategy:
  """Returns a strategy for several devices of this machine; each has a copy of the weights.

  Args:
    devices: their names, such as ("GPU:0", "GPU:1"), or how many GPUs; None takes every GPU.

  Raises:
    EnvironmentFault: there are fewer, or no GPU at all; nothing falls back on the CPU in silence.
    UsageError: no device or one of them twice.
  """
  logical = _logical_devices()
  gpus = [name for name in logical if name.startswith("GPU")]
  if devices is None:
    devices = max(1, len(gpus))
  names = [f"GPU:{index}" for index in range(devices)] if isinstance(devices, int) else devices
  if not names or len(set(names)) < len(names):
    raise errors.UsageError(f"mirrored.devices = {devices!r}: expected different devices")
  if missing := [name for name in names if name not in logical]:
    raise errors.EnvironmentFault(
      f"mirrored.devices wants {', '.join(missing)}, which this machine has not; it has "
      f"{', '.join(logical)}"
    )
  return tf.distribute.MirroredStrategy([f"/device:{name}" for name in names])


def multi_worker(timeout: float = 600.0) -> tf.distribute.Strategy:
  """Returns a strategy for the processes that the variable TF_CONFIG lists, on all their GPUs.

  A process without a GPU computes on its CPU. Each waits here until all have come.

  Args:
    timeout: seconds that a sum over the workers may take. TensorFlow's own default is to wait
      without end for a worker that is alive but stuck.

  Raises:
    UsageError: TF_CONFIG is missing, or cannot be right (cluster.py).
  """
  if timeout <= 0:
    raise errors.UsageError(f"multi_worker.timeout = {timeout}: expected seconds, more than 0")
  found = cluster.read()
  if found is None:
    raise errors.UsageError(
      f"the strategy multi_worker needs {cluster.VARIABLE}, which is not set: it lists the "
      "processes and tells this one which it is"
    )
  for warning in cluster.check_hosts(found):
    _log.warning("%s", warning)
  options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
  return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)


def tpu(name: str = "local") -> tf.distribute.Strategy:
  """Returns a strategy for a TPU, which it takes into possession.

  Args:
    name: "local" for the TPU of the machine that this runs on, or a Cloud TPU's name or its
      address, "grpc://...".

  Raises:
    EnvironmentFault: there is none; nothing falls back on the CPU in silence.
  """
  try:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(name)
  except (OSError, ValueError, RuntimeError, ImportError, tf.errors.OpError) as error:
    raise errors.EnvironmentFault(
      f"tpu.name = {name!r}: no TPU is there ({str(error)[:100].splitlines()[0]}); run on a TPU VM "
      "with TensorFlow for TPUs, or choose another strategy"
    ) from error
  return tf.distribute.TPUStrategy(resolver)


def distribute(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset) -> Iterator:
  """Returns an iterator of per-replica batches, each global batch divided among the replicas.

  Several replicas get their batches without the ids.
  For one replica it is the data set's own. tf.distribute's is built on GeneratorDataset, which, on
  Python 3.11, has glibc return every block of over 128 KB to the system at once (TensorFlow's
  ApplyPython311MemoryPatch); that is taken back here (docs/performance.md).
  """
  if strategy.num_replicas_in_sync == 1:
    return iter(dataset)
  # Not distribute_datasets_from_function, which would give each replica a whole batch.
  dataset = dataset.map(lambda batch: batch._replace(id=()))  # a TPU takes no strings
  iterator = iter(strategy.experimental_distribute_dataset(dataset))
  malloc.keep_freed_memory()
  return iterator


def _logical_devices() -> list[str]:
  return [d.name.removeprefix("/device:") for d in tf.config.list_logical_devices()]
