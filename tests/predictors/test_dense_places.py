"""Each place of a dense map is the plain net on the crop that the place sees."""

import numpy as np
import pytest
import tensorflow as tf

from tests import samples
from tests.predictors import nets
from vggtf.nn import chain, initializers
from vggtf.predictors import dense

# Without padding no crop has an edge that the whole picture lacks.
STEPS = (
  chain.Convolve("conv1", 3, 64, padding="VALID"),
  chain.Pool(),
  chain.Convolve("conv2", 3, 128, padding="VALID"),
  chain.Pool(),
)
SIDE, STRIDE = 22, 4  # 22 -> 20 -> 10 -> 8 -> 4, which fc6 sees whole


def build(rounding):
  return chain.Chain(
    "unpadded",
    STEPS,
    classes=nets.CLASSES,
    mean_rgb=nets.MEAN_RGB,
    input_size=SIDE,
    width=1 / 16,
    dropout=0.5,
    initializer=initializers.Gaussian(std=0.02),
    lrn_form="alexnet",
    pool_rounding=rounding,
    compute_dtype="float32",
    seed=3,
  )


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize(("height", "width"), [(38, 34), (39, 37), (22, 29), (22, 22)])
def test_every_place_is_the_net_on_its_crop(rounding, height, width):
  net = build(rounding)
  picture = tf.constant(samples.paint(2, height, width)[np.newaxis])
  found = net.score_map(picture)[0].numpy()
  rows, columns = (height - SIDE) // STRIDE + 1, (width - SIDE) // STRIDE + 1
  # Rounding up adds places that see over the border: no crop of the picture is theirs.
  extra = (0, 1) if rounding == "ceil" else (0,)
  assert found.shape[0] - rows in extra
  assert found.shape[1] - columns in extra
  for row in range(rows):
    for column in range(columns):
      top, left = row * STRIDE, column * STRIDE
      crop = picture[:, top : top + SIDE, left : left + SIDE]
      np.testing.assert_allclose(found[row, column], net(crop).logits[0], rtol=0, atol=1e-5)
  if rows * columns > 1:
    assert np.ptp(found, axis=(0, 1)).max() > 1e-3
  # And the predictor says the mean of them all.
  mirrored = net.score_map(picture[:, :, ::-1])[0].numpy()
  expected = (nets.softmax(found.mean((0, 1))) + nets.softmax(mirrored.mean((0, 1)))) / 2
  said = dense.Dense(net, min(height, width))(picture)[0]
  np.testing.assert_allclose(said, expected, rtol=0, atol=1e-5)


def test_a_net_of_the_papers_size_says_at_224_what_it_says_of_a_crop():
  net = nets.build("D", side=224)
  crop = tf.constant(samples.paint(4, 224, 224)[np.newaxis])
  spec = tf.TensorSpec([None, None, None, 3], tf.uint8)  # fc6 as a convolution
  slid = tf.function(dense.Dense(net, 224, flip=False).__call__, input_signature=[spec])
  np.testing.assert_allclose(slid(crop)[0], nets.softmax(net(crop).logits[0]), rtol=0, atol=1e-5)
