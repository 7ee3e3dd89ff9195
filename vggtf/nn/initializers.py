"""First values of weights.

An initialiser is called with a shape [..., inputs, outputs] and a key, and returns float32. The key
is made of the run's seed and the layer's name, so what a layer draws depends neither on the other
layers nor on the order in which they are built: a layer that two nets share starts alike in both.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from vggtf.nn import hashing

Key = tuple[int, int]
Initializer = Callable[[Sequence[int], Key], tf.Tensor]

_ALGORITHM = "philox"  # named, because "auto" draws other numbers on other devices


def key(seed: int, name: str) -> Key:
  """Returns the key of the layer `name` in a run with this seed."""
  return seed, hashing.hash_name(name)


@dataclasses.dataclass(frozen=True)
class Gaussian:
  """Normal with mean 0: the paper's initialisation of net A (section 3.1).

  Attributes:
    std: standard deviation. The paper writes "10^-2 variance"; read as a variance (std 0.1) the
      logits of A start at about 4e7 and nothing trains, read as the deviation A does.
  """

  std: float = 0.01

  def __call__(self, shape: Sequence[int], key: Key) -> tf.Tensor:
    """Draws the weights."""
    return tf.random.stateless_normal(shape, key, stddev=self.std, alg=_ALGORITHM)


@dataclasses.dataclass(frozen=True)
class Glorot:
  """Uniform in +-sqrt(6 / (fan in + fan out)) (Glorot & Bengio, 2010, equation 16).

  With it the paper's nets need no pre-training, as its authors found after the submission
  (section 3.1).
  """

  def __call__(self, shape: Sequence[int], key: Key) -> tf.Tensor:
    """Draws the weights."""
    limit = math.sqrt(6 / (_fan_in(shape) + _fan_out(shape)))
    return tf.random.stateless_uniform(shape, key, -limit, limit, alg=_ALGORITHM)


@dataclasses.dataclass(frozen=True)
class He:
  """Normal with variance 2 / fan in (He et al., 2015, equation 10): keeps the scale past ReLUs."""

  def __call__(self, shape: Sequence[int], key: Key) -> tf.Tensor:
    """Draws the weights."""
    std = math.sqrt(2 / _fan_in(shape))
    return tf.random.stateless_normal(shape, key, stddev=std, alg=_ALGORITHM)


def _fan_in(shape: Sequence[int]) -> int:
  return math.prod(shape[:-1])


def _fan_out(shape: Sequence[int]) -> int:
  return math.prod(shape[:-2]) * shape[-1]
