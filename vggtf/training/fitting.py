"""The largest batch that fits, by trying."""

from __future__ import annotations

from collections.abc import Callable

_CLOSE = 8  # near enough: an eighth of the largest found


def largest(fits: Callable[[int], bool], first: int, multiple: int) -> tuple[int, int]:
  """Returns the largest number found to fit and the smallest found not to, an eighth apart.

  Each try of a TPU's compiler takes minutes, so few are made: the number is doubled or halved until
  it changes sides, then what lies between is halved.

  Args:
    fits: whether so many fit.
    first: what to try first.
    multiple: all numbers tried are multiples of it; `first` is rounded up to one.

  Returns:
    A multiple of `multiple`, 0 where not even the smallest fits; and a larger one.
  """
  number = max(1, -(-first // multiple))  # in multiples
  if fits(number * multiple):
    low, high = number, 2 * number
    while fits(high * multiple):
      low, high = high, 2 * high
  else:
    low, high = number // 2, number
    while low and not fits(low * multiple):
      low, high = low // 2, low
  while high - low > max(1, low // _CLOSE):
    middle = (low + high) // 2
    if fits(middle * multiple):
      low = middle
    else:
      high = middle
  return low * multiple, high * multiple
