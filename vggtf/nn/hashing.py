"""Random bits from integer arithmetic: the same on every device, with XLA and without.

TensorFlow's stateless generators are reproducible too, but give other bits once XLA compiles them,
so a run would depend on `jit_compile`.
"""

import zlib

import tensorflow as tf


def hash_name(name: str) -> int:
  """Returns a number in 0..2^32-1 that depends on the text alone, in every process."""
  return zlib.crc32(name.encode())


def mix(bits: tf.Tensor) -> tf.Tensor:
  """Scrambles uint32 numbers one to one: the finaliser of MurmurHash3 (Appleby, 2011)."""
  bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, 16))
  bits *= 0x85EBCA6B
  bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, 13))
  bits *= 0xC2B2AE35
  return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, 16))


def uniform(first: tf.Tensor | int, count: tf.Tensor, name: str, seed: tf.Tensor) -> tf.Tensor:
  """Draws one number for each index, a function of (index, name, seed).

  Args:
    first: the first index, an int32 scalar.
    count: how many, an int32 scalar.
    name: what the numbers are for; each name has its own.
    seed: int32 [2].

  Returns:
    float32 [count] in [0, 1), multiples of 2^-24.
  """
  seed = tf.bitcast(seed, tf.uint32)
  bits = tf.cast(first + tf.range(count), tf.uint32)
  for word in (tf.constant(hash_name(name), tf.uint32), seed[0], seed[1]):
    bits = mix(tf.bitwise.bitwise_xor(bits, word))
  return tf.cast(tf.bitwise.right_shift(bits, 8), tf.float32) * 2.0**-24
