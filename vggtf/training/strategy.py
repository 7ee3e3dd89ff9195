"""Where a run computes: constructors of tf.distribute strategies, for gin to bind."""

import contextlib
import weakref
from collections.abc import Callable, Iterator

import tensorflow as tf

from vggtf import errors, malloc
from vggtf.training import cluster, meeting, stopping
from vggtf.training import peers as others

_PEERS: weakref.WeakKeyDictionary[tf.distribute.Strategy, others.Peers] = (
  weakref.WeakKeyDictionary()
)


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


def multi_worker(timeout: float = 600.0, silence: float = 15.0) -> tf.distribute.Strategy:
  """Returns a strategy for the processes that the variable TF_CONFIG lists, on all their GPUs.

  A process without a GPU computes on its CPU. Each waits here until all have come: TensorFlow would
  wait without end, and say nothing.

  Args:
    timeout: seconds until all must have come, and that a sum over them may take.
    silence: seconds without a sign of life after which a process counts as lost.

  Raises:
    UsageError: TF_CONFIG is missing or cannot be right, or the processes differ in it or in their
      versions.
    EnvironmentFault: this process's port is taken.
    PeerError: another process does not come; it is named.
  """
  for name, seconds in (("timeout", timeout), ("silence", silence)):
    if seconds <= 0:
      raise errors.UsageError(f"multi_worker.{name} = {seconds}: expected seconds, more than 0")
  peers = meeting.join(cluster.require("the strategy multi_worker"), timeout, silence)
  options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
  with stopping.kept_handler():
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
  _PEERS[strategy] = peers
  return strategy


@contextlib.contextmanager
def together(strategy: tf.distribute.Strategy) -> Iterator[others.Peers]:
  """Yields the processes that a strategy computes in; how this one ends is told to the others.

  Raises:
    PeerError: TensorFlow says that one of them was lost, or does not answer; it is named.
  """
  with _PEERS.get(strategy) or others.Peers() as peers:
    try:
      yield peers
    except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError) as error:
      raise peers.error() from error
    except tf.errors.OpError as error:
      if not peers.lost:
        raise
      raise peers.error() from error


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


def distribute(
  strategy: tf.distribute.Strategy, batches: Callable[..., tf.data.Dataset], batch_size: int
) -> Iterator:
  """Returns an iterator of per-replica batches, each global batch divided among the replicas.

  A process gets, and reads, the part of its own replicas alone. Where they are several, they get
  their batches without the ids. For one it is the data set's own iterator: those of tf.distribute
  are built on GeneratorDataset, which, on Python 3.11, has glibc return every block of over 128 KB
  to the system at once (TensorFlow's ApplyPython311MemoryPatch; taken back here,
  docs/performance.md), and with a thread that may delay their end (threads.untuned).

  Args:
    strategy: whose replicas.
    batches: returns the global batches, contracts.Batch es; where several processes read, called
      with `worker` and `workers`, and returns that worker's parts of them (contracts.Feed).
    batch_size: images of a global batch; a multiple of the replicas.
  """
  if strategy.num_replicas_in_sync == 1:
    return iter(batches())
  peers = _PEERS.get(strategy)
  if peers and len(strategy.extended.worker_devices) == 1:
    return iter(batches(worker=peers.rank, workers=len(peers.names)))

  def part(context: tf.distribute.InputContext) -> tf.data.Dataset:
    workers = context.num_input_pipelines
    own = batches(worker=context.input_pipeline_id, workers=workers) if workers > 1 else batches()
    own = own.map(lambda batch: batch._replace(id=()))  # a TPU takes no strings
    return own.rebatch(batch_size // context.num_replicas_in_sync, drop_remainder=True)

  iterator = iter(strategy.distribute_datasets_from_function(part))
  malloc.keep_freed_memory()
  return iterator


def _logical_devices() -> list[str]:
  return [d.name.removeprefix("/device:") for d in tf.config.list_logical_devices()]
