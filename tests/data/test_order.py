from concurrent import futures

import numpy as np
import pytest

from vggtf.data import order


def test_an_epoch_s_order_is_a_permutation():
  for count in (1, 2, 100):
    assert sorted(order.permutation(3, 5, count)) == list(range(count))


def test_every_epoch_and_seed_has_an_order_of_its_own():
  orders = {tuple(order.permutation(seed, epoch, 50)) for seed in range(5) for epoch in range(5)}
  assert len(orders) == 25


def test_the_order_is_frozen():
  assert order.permutation(0, 0, 10).tolist() == [3, 7, 6, 4, 1, 0, 2, 8, 5, 9]
  assert order.permutation(2015, 7, 10).tolist() == [6, 3, 5, 7, 2, 1, 8, 0, 9, 4]
  assert order.permutation(2015, 7, 1_281_167)[:4].tolist() == [916579, 437105, 227170, 552474]


def test_the_numbers_of_a_view_are_frozen():
  assert (order.uniform(0, 0, 0) * 2**24).tolist() == [
    193722,
    4052523,
    1869415,
    9469306,
    8428531,
    4657448,
    15880378,
    16543446,
    4258438,
    3272405,
  ]
  assert (order.uniform(2015, 7, 1_281_166) * 2**24).tolist() == [
    10260800,
    9881015,
    7110157,
    13898165,
    9908725,
    2447396,
    4016858,
    1864356,
    6563186,
    3585324,
  ]


def philox(counter: list[int], key: list[int]) -> list[int]:
  """Philox4x64-10 as published (Salmon et al. 2011, "Random numbers: as easy as 1, 2, 3")."""
  for turn in range(10):
    left, right = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
    keys = [key[0] + turn * 0x9E3779B97F4A7C15, key[1] + turn * 0xBB67AE8584CAA73B]
    counter = [
      (right >> 64) ^ counter[1] ^ (keys[0] % 2**64),
      right % 2**64,
      (left >> 64) ^ counter[3] ^ (keys[1] % 2**64),
      left % 2**64,
    ]
  return counter


@pytest.mark.parametrize("address", [(0, 0, 0), (2015, 7, 1_281_166), (2**32 - 1, 10**6, 10**7)])
def test_the_numbers_of_a_view_are_the_published_philox_s_upper_24_bits(address):
  seed, epoch, number = address
  words = [word for at in (1, 2, 3) for word in philox([at, 0, 0, number], [seed, epoch])]
  expected = [word >> 40 for word in words[: order.DRAWS]]
  assert (order.uniform(seed, epoch, number) * 2**24).tolist() == expected


@pytest.mark.parametrize("batch", [1, 7, 10, 16, 25])
def test_batches_that_straddle_epochs_hold_each_record_once_an_epoch(batch):
  seen = {}
  for first in range(0, 60, batch):
    epochs, numbers = order.records_at(np.arange(first, first + batch), 1, 10)
    for epoch, number in zip(epochs.tolist(), numbers.tolist(), strict=True):
      seen.setdefault(epoch, []).append(number)
  for epoch in range(60 // 10):
    assert seen[epoch] == order.permutation(1, epoch, 10).tolist()


def test_threads_do_not_disturb_each_other_s_numbers():
  addresses = [(1, epoch, number) for epoch in range(20) for number in range(20)]
  alone = [order.uniform(*address).tolist() for address in addresses]
  with futures.ThreadPoolExecutor(4) as threads:
    at_once = threads.map(lambda address: order.uniform(*address).tolist(), addresses)
    assert list(at_once) == alone


def test_numbers_of_a_view_are_float32_from_0_to_below_1():
  numbers = np.stack([order.uniform(1, 2, number) for number in range(1000)])
  assert numbers.dtype == np.float32
  assert numbers.shape == (1000, order.DRAWS)
  assert 0 <= numbers.min() < 0.001
  assert 0.999 < numbers.max() < 1
  np.testing.assert_array_equal(numbers * 2**24, np.floor(numbers * 2**24))


def test_every_record_epoch_and_seed_has_numbers_of_its_own():
  addresses = [
    (0, 0, 0),
    (1, 0, 0),
    (0, 1, 0),
    (0, 0, 1),
    (1, 1, 0),
    (2**32 - 1, 0, 0),
    (0, 9**9, 1),
  ]
  numbers = np.concatenate([order.uniform(*address) for address in addresses])
  assert len(set(numbers.tolist())) == len(addresses) * order.DRAWS


def chi_square(values: np.ndarray, bins: int) -> float:
  """Of float [N, D] in [0, 1) as points in D dimensions, each cut into bins."""
  counts, _ = np.histogramdd(values, [np.linspace(0, 1, bins + 1)] * values.shape[1])
  expected = len(values) / counts.size
  return float(((counts - expected) ** 2 / expected).sum())


# Quantiles of chi-square at 1 - 1e-5, for 15 and for 63 degrees of freedom.
UNIFORM_16, UNIFORM_8_BY_8 = 50.5, 120.0


def test_numbers_are_uniform_and_independent_over_records_epochs_seeds_and_places():
  over_records = np.stack([order.uniform(1, 0, number) for number in range(8000)])
  over_epochs = np.stack([order.uniform(1, epoch, 5) for epoch in range(8000)])
  over_seeds = np.stack([order.uniform(seed, 0, 5) for seed in range(8000)])
  for numbers in (over_records, over_epochs, over_seeds):
    for place in range(order.DRAWS):
      assert chi_square(numbers[:, [place]], 16) < UNIFORM_16
      following = np.stack([numbers[:-1, place], numbers[1:, place]], 1)
      assert chi_square(following, 8) < UNIFORM_8_BY_8
      beside = numbers[:, [place, (place + 1) % order.DRAWS]]
      assert chi_square(beside, 8) < UNIFORM_8_BY_8


def test_orders_place_every_record_everywhere():
  places = np.stack([np.argsort(order.permutation(1, epoch, 16)) for epoch in range(4000)])
  for record in range(16):
    assert chi_square((places[:, [record]] + 0.5) / 16, 16) < UNIFORM_16
