"""glibc's malloc, told to keep what is freed for the next image or step.

By itself it gives blocks of an image's size back to the kernel, and each faults them in again;
TensorFlow's GeneratorDataset even has it do so from 128 KB on (docs/performance.md).
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory():
  """Sets this process's malloc; does nothing where it is another one."""
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt:
    mallopt(_MMAP_THRESHOLD, 32 << 20)
    mallopt(_TRIM_THRESHOLD, 64 << 20)
