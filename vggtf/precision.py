"""What is computed in which type.

Variables and their updates are float32 whatever the compute type is. A net casts its images to
the compute type once; each layer casts its own variables to the type of what it is given, so their
gradients come in that type, and are widened where they are added up or updated with. The last
layer, the softmax and the loss are float32 again, because differences of posteriors are smaller
than bfloat16's 8 bits; so are the statistics of a norm.

bfloat16 has float32's range. float16 has not: its small gradients vanish unless the loss is scaled
(vggtf/training/loss_scale.py).
"""

import tensorflow as tf

from vggtf import errors

COMPUTE_TYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16, "float16": tf.float16}


def compute_type(name: str, option: str = "compute_dtype") -> tf.DType:
  """Returns the type of this name, in which convolutions and products of hidden layers run.

  Args:
    name: a key of `COMPUTE_TYPES`.
    option: what has this value, for the error.

  Raises:
    UsageError: `name` is none of them.
  """
  return errors.choose(option, name, COMPUTE_TYPES)


def before_widening(tensor: tf.Tensor) -> tf.Tensor:
  """Returns what was cast, where a graph's tensor comes out of a cast to float32; else itself.

  The gradient of a layer's cast is a cast back. Whoever takes a gradient from before it can widen
  as it reads, and half as many bytes go through memory.
  """
  cast = tensor.op
  return cast.inputs[0] if cast.type == "Cast" and tensor.dtype == tf.float32 else tensor
