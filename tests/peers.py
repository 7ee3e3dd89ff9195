"""PyTorch, where it is installed; CONTRIBUTING.md says why it is not part of the tested set."""

import pytest

try:
  import torch
except ImportError:
  torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="compares with PyTorch")
