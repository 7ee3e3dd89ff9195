import pytest
import tensorflow as tf

from vggtf import errors
from vggtf.training import strategy


def test_one_device_is_the_first_gpu_or_the_cpu():
  expected = "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
  for chosen in (strategy.one_device(), strategy.one_device("CPU:0")):
    assert chosen.num_replicas_in_sync == 1
  with strategy.one_device().scope():
    assert expected in tf.Variable(0.0).device


def test_a_device_that_is_not_there_is_no_reason_to_take_another():
  with pytest.raises(errors.EnvironmentFault, match=r"'GPU:99' is not on this machine.*CPU:0"):
    strategy.one_device("GPU:99")


@pytest.mark.parametrize("chosen", ["one_device", "mirrored"])
def test_one_replica_gets_the_batches_as_they_are(chosen):
  chosen = {
    "one_device": strategy.one_device,
    "mirrored": lambda: tf.distribute.MirroredStrategy(["/cpu:0"]),
  }[chosen]()
  found = strategy.distribute(chosen, tf.data.Dataset.range(6).batch(3))
  assert [batch.numpy().tolist() for batch in found] == [[0, 1, 2], [3, 4, 5]]
