"""Training in bfloat16: gradients near those in float32, auxiliary heads included."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models import rivals
from vggtf.models import alexnet, googlenet, zfnet


@pytest.mark.parametrize(
  ("make", "last", "side"),
  [
    (alexnet.AlexNet, "fc8", 67),
    (zfnet.ZFNet, "fc8", 64),
    (googlenet.GoogLeNet, "loss3/classifier", 96),
  ],
)
def test_gradients_are_near_those_in_float32(make, last, side):
  batch, labels = rivals.pictures(4, side), np.array([0, 3, 9, 3])
  found = {}
  for dtype in ("float32", "bfloat16"):
    net = rivals.build(make, last, input_size=side, width=1 / 8, compute_dtype=dtype)
    gradients = tf.nest.flatten(rivals.gradients(net, batch, labels, jit_compile=False))
    assert {one.dtype for one in gradients} == {tf.float32}
    found[dtype] = np.concatenate([np.ravel(one) for one in gradients])
  exact, ours = found["float32"], found["bfloat16"]
  error = np.linalg.norm(ours - exact) / np.linalg.norm(exact)
  print(f"{make.__name__}: relative distance {error:.3f}")
  assert 1e-4 < error < 0.3
