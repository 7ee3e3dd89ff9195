"""The hash against published values of MurmurHash3."""

import numpy as np
import pytest
import tensorflow as tf

from vggtf.nn import hashing


@pytest.mark.parametrize(("seed", "digest"), [(0, 0), (1, 0x514E28B7), (0xFFFFFFFF, 0x81F16F39)])
def test_mix_is_murmur3_of_the_empty_string(seed, digest):
  assert hashing.mix(tf.constant([seed], tf.uint32)).numpy() == [digest]


def test_names_hash_to_their_crc32():
  assert hashing.hash_name("123456789") == 0xCBF43926  # the check value of CRC-32


def test_draws_are_uniform_and_uncorrelated():
  draws = np.stack(
    [
      hashing.uniform(0, 100_000, name, tf.constant(seed))
      for name, seed in [("fc6", [1, 2]), ("fc7", [1, 2]), ("fc6", [1, 3]), ("fc6", [-2, 2])]
    ]
  )
  assert draws.min() >= 0
  assert draws.max() < 1
  counts = np.stack([np.histogram(row, 16, (0, 1))[0] for row in draws])
  chi_squared = ((counts - 6250) ** 2 / 6250).sum(axis=1)
  assert chi_squared.max() < 37.7  # 0.999 quantile at 15 degrees of freedom
  shifted = np.concatenate([draws, draws[:1, np.arange(1, 100_001) % 100_000]])
  correlation = np.corrcoef(shifted) - np.eye(5)
  assert np.abs(correlation).max() < 4.5 / np.sqrt(100_000)
