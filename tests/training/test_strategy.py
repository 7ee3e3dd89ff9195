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
