"""Ten crops and multi-crop against a plain loop over Pillow's crops."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tests import samples
from tests.predictors import nets
from vggtf import errors
from vggtf.predictors import multi_crop, ten_crop

SIDE = nets.SIDE


@pytest.fixture(scope="module")
def net():
  return nets.build()


def classified(net, picture: Image.Image, corners, flip=True) -> np.ndarray:
  """Returns float64 [classes]: the mean over crops at (left, top) and over their mirror images."""
  views = []
  for left, top in corners:
    crop = picture.crop((left, top, left + SIDE, top + SIDE))
    views += [np.asarray(crop), np.asarray(ImageOps.mirror(crop))][: 1 + flip]
  return nets.softmax(net(tf.constant(np.stack(views))).logits).mean(axis=0)


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (32, 32)])
def test_multi_crop_is_the_mean_of_fifty_crops(net, height, width):
  scale = min(height, width)
  pictures = [Image.fromarray(samples.paint(seed, height, width)) for seed in (0, 1)]
  predictor = multi_crop.MultiCrop(net, scale)
  views = tf.stack([predictor.prepare(tf.constant(np.asarray(one))) for one in pictures])
  corners = [
    (column * (width - SIDE) // 4, row * (height - SIDE) // 4)
    for row in range(5)
    for column in range(5)
  ]
  assert corners[0] == (0, 0)
  assert corners[-1] == (width - SIDE, height - SIDE)
  expected = [classified(net, one, corners) for one in pictures]
  np.testing.assert_allclose(predictor(views), expected, rtol=0, atol=1e-5)
  spec = tf.TensorSpec([None, None, None, 3], tf.uint8)  # as the evaluator and the export call it
  traced = tf.function(predictor.__call__, input_signature=[spec])
  np.testing.assert_allclose(traced(views), expected, rtol=0, atol=1e-5)


def test_a_grid_of_two_takes_the_corners(net):
  picture = Image.fromarray(samples.paint(3, 40, 50))
  for flip in (True, False):
    predictor = multi_crop.MultiCrop(net, 40, grid=2, flip=flip)
    found = predictor(tf.constant(np.asarray(picture)[np.newaxis]))
    expected = classified(net, picture, [(0, 0), (18, 0), (0, 8), (18, 8)], flip)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 61), (61, 40), (41, 41)])
def test_ten_crops_are_those_of_the_central_square(net, size):
  picture = Image.fromarray(samples.paint(5, *size))
  scale = min(size)
  predictor = ten_crop.TenCrop(net, scale)
  view = predictor.prepare(tf.constant(np.asarray(picture)))
  left, top = (picture.width - scale) // 2, (picture.height - scale) // 2
  square = picture.crop((left, top, left + scale, top + scale))
  np.testing.assert_array_equal(view, np.asarray(square))
  assert view.shape == (scale, scale, 3)  # static: batches of one shape
  end = scale - SIDE
  corners = [(0, 0), (end, 0), (0, end), (end, end), (end // 2, end // 2)]
  expected = classified(net, square, corners)
  found = predictor(tf.stack([view, tf.reverse(view, [1])]))
  np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)
  first = nets.softmax(net(view[tf.newaxis, :SIDE, :SIDE]).logits)
  assert np.abs(expected - first).max() > 1e-4


@pytest.mark.parametrize(
  ("predictor", "together"), [(multi_crop.MultiCrop, 50), (ten_crop.TenCrop, 3)]
)
def test_memory_is_that_of_one_pass(net, predictor, together):
  """Of three pictures the crops of one, or one crop of each, are in the net at a time."""
  asked = []

  class Watched(tf.Module):
    input_size, classes = SIDE, nets.CLASSES

    def __call__(self, crops):
      asked.append(len(crops))
      return net(crops)

  views = tf.constant(np.stack([samples.paint(seed, 40, 40) for seed in range(3)]))
  predictor(Watched(), 40)(views)
  assert set(asked) == {together}
  graph = tf.function(predictor(net, 40).__call__).get_concrete_function(views).graph
  (loop,) = [one for one in graph.get_operations() if "While" in one.type]
  assert loop.get_attr("parallel_iterations") == 1


@pytest.mark.parametrize("predictor", [multi_crop.MultiCrop, ten_crop.TenCrop])
def test_scale_below_the_net_is_refused(net, predictor):  # E6
  name = predictor.__name__
  with pytest.raises(errors.UsageError, match=rf"{name}\.scale = 31 is smaller .* 32 pixels"):
    predictor(net, scale=31)


def test_a_grid_of_one_is_refused(net):
  with pytest.raises(errors.UsageError, match=r"MultiCrop\.grid = 1: expected 2 or more"):
    multi_crop.MultiCrop(net, 40, grid=1)


def test_they_say_what_they_do(net):
  crops = functools.partial(multi_crop.MultiCrop, net)
  assert crops(40).describe() == "multi-crop Q=40, 5x5, flip"
  assert crops(40, grid=3).describe((40, 48)) == "multi-crop Q=40,48, 3x3, flip"
  assert crops(40, flip=False).describe() == "multi-crop Q=40, 5x5"
  assert ten_crop.TenCrop(net, 40).describe() == "ten crops 32 of 40"
