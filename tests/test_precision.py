import pytest
import tensorflow as tf

from vggtf import errors, precision


def test_types():
  assert precision.compute_type("float32") == tf.float32
  assert precision.compute_type("bfloat16") == tf.bfloat16
  assert precision.compute_type("float16") == tf.float16


def test_unknown_type_is_refused_with_the_known_ones():
  with pytest.raises(errors.UsageError, match=r"'float8' is unknown: .* 'bfloat16', 'float16'"):
    precision.compute_type("float8")
