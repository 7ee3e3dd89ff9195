import pytest

from vggtf.training import fitting


@pytest.mark.parametrize("limit", [1, 7, 8, 31, 96, 700, 1000])
@pytest.mark.parametrize("first", [1, 32, 100, 2048])
@pytest.mark.parametrize("multiple", [8, 12])
def test_the_largest_that_fits_is_found_to_an_eighth(limit, first, multiple):
  tried = []

  def fits(count):
    tried.append(count)
    return count <= limit

  low, high = fitting.largest(fits, first, multiple)
  assert low <= limit < high
  assert low % multiple == high % multiple == 0
  assert high - low <= max(multiple, low // 8)
  assert len(tried) == len(set(tried)) <= 14  # none is tried twice


def test_the_asked_for_is_tried_first():
  tried = []
  assert fitting.largest(lambda count: tried.append(count) or count <= 100, 64, 8) == (96, 104)
  assert tried[:2] == [64, 128]
