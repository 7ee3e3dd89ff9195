"""Freed memory is kept: the next image of the same size causes no page faults."""

import resource

from vggtf import malloc

SIZE = 3 << 20


def count_faults(rounds: int = 20) -> int:
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  for _ in range(rounds):
    block = bytearray(SIZE)
    del block
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_is_kept():
  malloc.keep_freed_memory()
  count_faults()  # the first time its pages are new
  assert count_faults() < SIZE / resource.getpagesize()
