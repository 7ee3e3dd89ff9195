"""Weights from and to every place that people keep them."""

from vggtf.weights.canonical import Facts, Weights
from vggtf.weights.files import read, write

__all__ = ["Facts", "Weights", "read", "write"]
