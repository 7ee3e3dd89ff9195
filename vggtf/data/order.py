"""Where everything random in the input comes from: pure functions of seed, epoch and record.

The step number alone says which images come next and how each is cropped, so a resumed run goes on
as if it had never stopped, and no iterator is ever saved. Both generators are numpy's whose streams
are fixed for good (NEP 19): the legacy MT19937 permutation and the raw words of Philox.
"""

import functools
import threading

import numpy as np

DRAWS = 10  # uniform numbers that one view of one image may use


class _Own(threading.local):
  """Each thread's generator, and its state at the beginning; a new one takes four times as long."""

  def __init__(self):
    self.generator = np.random.Philox()
    self.state = self.generator.state


_own = _Own()


@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
  """Returns int64 [count]: the order of the records in an epoch."""
  return np.random.RandomState([seed, epoch]).permutation(count)


def records_at(positions: np.ndarray, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the epoch and the record's number for positions in the endless stream of images.

  Every epoch holds each record exactly once; a batch may reach over the end of one.
  """
  epochs = positions // count
  numbers = np.array(
    [permutation(seed, int(e), count)[p % count] for p, e in zip(positions, epochs, strict=True)]
  )
  return epochs, numbers


def uniform(seed: int, epoch: int, number: int) -> np.ndarray:
  """Returns float32 [DRAWS] in [0, 1): what is random about one record's view in one epoch."""
  place = _own.state["state"]
  place["key"][:] = seed, epoch
  place["counter"][:] = 0, 0, 0, number
  _own.generator.state = _own.state
  words = _own.generator.random_raw(DRAWS)
  return ((words >> np.uint64(40)) * 2.0**-24).astype(np.float32)  # 24 bits: exact in float32
