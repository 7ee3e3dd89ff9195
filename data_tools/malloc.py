"""glibc's malloc, told to keep what an image frees for the next one.

By itself it gives blocks of this size back to the kernel, and every image faults them in again: 140
page faults in the decoder, and half of the parent's own time (docs/performance.md).
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory():
  """Sets this process's malloc; does nothing where it is another one."""
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt:
    mallopt(_MMAP_THRESHOLD, 32 << 20)
    mallopt(_TRIM_THRESHOLD, 64 << 20)
