"""What is computed in which type.

Variables, their gradients and their updates are float32 whatever the compute type is. A net casts
its images to the compute type once; each layer casts its own variables to the type of what it is
given. The last layer, the softmax and the loss are float32 again, because differences of posteriors
are smaller than bfloat16's 8 bits; so are the statistics of a norm.
"""

import tensorflow as tf

from vggtf import errors

COMPUTE_TYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}


def compute_type(name: str) -> tf.DType:
  """Returns the type in which convolutions and matrix products of hidden layers run.

  Raises:
    UsageError: `name` is none of `COMPUTE_TYPES`.
  """
  return errors.choose("compute_dtype", name, COMPUTE_TYPES)
