"""Numbers of the nets' norms, as formats spell them: those of vggtf/nn/norms.py."""

from __future__ import annotations

import math
from typing import NamedTuple

EPSILON = 1e-5  # added to a variance; PyTorch's and Caffe's too
GROUPS = 32  # of group norm
LRN_SIZE = 5  # channels


class Lrn(NamedTuple):
  """x / (bias + alpha * sum of x^2 over `LRN_SIZE` channels) ^ beta."""

  bias: float
  alpha: float
  beta: float = 0.75


LRN = {"alexnet": Lrn(2.0, 1e-4), "caffe": Lrn(1.0, 1e-4 / LRN_SIZE)}


def groups(channels: int) -> int:
  """Returns how many groups a group norm has."""
  return math.gcd(GROUPS, channels)


def lrn_form(alpha: float, bias: float, beta: float) -> str | None:
  """Returns the form whose alpha, times `LRN_SIZE`, bias and beta these are."""
  for name, form in LRN.items():
    close = math.isclose(alpha, form.alpha * LRN_SIZE, rel_tol=1e-5)
    if close and (bias, beta) == (form.bias, form.beta):
      return name
  return None
