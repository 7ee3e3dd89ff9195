"""Protocols of section 3.2 against NumPy and PyTorch."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import samples
from tests.models import torch_vgg
from tests.peers import needs_torch, torch
from vggtf import errors, images
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.predictors import centre, dense

MEAN_RGB = (120.0, 125.0, 130.0)
SIDE, CLASSES = 32, 6


@pytest.fixture(scope="module")
def net():
  net = vgg.VGG(CLASSES, MEAN_RGB, "A", SIDE, width=1 / 16, initializer=initializers.He())
  # Pixels of +-128 make logits of hundreds: smaller ones, so that no posterior is 0 or 1.
  net.layers["fc8"].weights.assign(net.layers["fc8"].weights * 0.02)
  net.layers["fc8"].biases.assign(tf.linspace(-1.0, 1.0, CLASSES))
  return net


def picture(height, width, seed=0):
  return samples.paint(seed, height, width)


def softmax(scores):
  powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
  return powers / powers.sum(axis=-1, keepdims=True)


def torch_scores(net, pictures):
  """Returns float64 [N, h, w, classes]: PyTorch's fully-convolutional net."""
  features, classifier = torch_vgg.build("A", CLASSES, SIDE, width=1 / 16)
  torch_vgg.copy_weights(net, features, classifier)
  whole = torch.nn.Sequential(features, torch_vgg.convolve_classifier(classifier, 1)).double()
  with torch.no_grad():
    maps = whole(torch_vgg.prepare(pictures, MEAN_RGB).double())
  return maps.numpy().transpose(0, 2, 3, 1)


@needs_torch
@pytest.mark.parametrize("size", [(40, 61), (61, 40), (32, 33), (32, 32), (75, 37)])
def test_centre_is_the_middle_of_the_rescaled_picture(net, size):
  given = picture(*size)
  scale = min(size)  # as stored: nothing to resample
  top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
  crop = given[top : top + SIDE, left : left + SIDE]
  predictor = centre.Centre(net, scale)
  prepared = predictor.prepare(tf.constant(given))
  np.testing.assert_array_equal(prepared, crop)
  assert prepared.shape == (SIDE, SIDE, 3)  # static: batches of one shape
  expected = softmax(torch_scores(net, crop[np.newaxis])[:, 0, 0])
  np.testing.assert_allclose(predictor(prepared[tf.newaxis]), expected, atol=1e-5)


def test_centre_rescales_isotropically_as_pillow_does(net):
  given = picture(60, 90)
  prepared = centre.Centre(net, 40).prepare(tf.constant(given)).numpy()
  resized = np.asarray(Image.fromarray(given).resize((60, 40), Image.Resampling.BICUBIC))
  difference = prepared.astype(int) - resized[4:36, 14:46]
  assert np.abs(difference).max() <= 1


@needs_torch
def test_centre_averages_the_posteriors_of_the_mirrored_crop(net):
  views = np.stack([picture(SIDE, SIDE, seed) for seed in range(3)])
  found = centre.Centre(net, SIDE, flip=True)(tf.constant(views)).numpy()
  straight = softmax(torch_scores(net, views)[:, 0, 0])
  mirrored = softmax(torch_scores(net, views[:, :, ::-1].copy())[:, 0, 0])
  assert np.abs(straight - mirrored).max() > 1e-3
  np.testing.assert_allclose(found, (straight + mirrored) / 2, atol=1e-5)
  np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@needs_torch
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("average", ["scores", "posteriors"])
def test_dense_is_the_mean_over_places_and_mirrors(net, average, flip):
  views = np.stack([picture(96, 160, seed) for seed in range(2)])

  def posteriors(pictures):
    scores = torch_scores(net, pictures)
    assert scores.shape == (2, 3, 5, CLASSES)
    if average == "scores":
      return softmax(scores.mean(axis=(1, 2)))
    return softmax(scores).mean(axis=(1, 2))

  expected = posteriors(views)
  if flip:
    mirrored = posteriors(views[:, :, ::-1].copy())
    assert np.abs(expected - mirrored).max() > 1e-3
    expected = (expected + mirrored) / 2
  found = dense.Dense(net, 96, flip, average)(tf.constant(views)).numpy()
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
  spec = tf.TensorSpec([None, None, None, 3], tf.uint8)  # as the evaluator and the export call it
  traced = tf.function(dense.Dense(net, 96, flip, average).__call__, input_signature=[spec])
  np.testing.assert_allclose(traced(views), expected, atol=1e-5)


def test_the_two_averages_differ(net):
  views = tf.constant(picture(96, 160)[np.newaxis])
  scores, posteriors = (dense.Dense(net, 96, average=a)(views) for a in ("scores", "posteriors"))
  assert np.abs(scores - posteriors).max() > 1e-3


@pytest.mark.parametrize("average", ["scores", "posteriors"])
def test_dense_at_the_native_size_is_centre(net, average):
  views = tf.constant(np.stack([picture(SIDE, SIDE, seed) for seed in range(3)]))
  found = dense.Dense(net, SIDE, flip=False, average=average)(views)
  np.testing.assert_allclose(found, centre.Centre(net, SIDE)(views), atol=1e-6)


@pytest.mark.parametrize(("size", "expected"), [((80, 120), (40, 60)), ((57, 33), (69, 40))])
def test_dense_sees_the_whole_picture_at_its_scale(net, size, expected):
  prepared = dense.Dense(net, 40).prepare(tf.constant(picture(*size)))
  assert prepared.shape == (*expected, 3)
  assert prepared.dtype == tf.uint8
  stored = tf.constant(picture(40, 55))
  np.testing.assert_array_equal(dense.Dense(net, 40).prepare(stored), stored)


def test_predictors_take_png_jpeg_and_grey(net):
  colour, grey = picture(40, 44), np.asarray(Image.fromarray(picture(40, 44)).convert("L"))
  for pixels in (colour, grey):
    for format_ in ("PNG", "JPEG"):
      file = io.BytesIO()
      Image.fromarray(pixels).save(file, format_)
      decoded = images.decode(tf.constant(file.getvalue()))
      assert centre.Centre(net, 40).prepare(decoded).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("predictor", [centre.Centre, dense.Dense])
def test_scale_below_the_net_is_refused(net, predictor):  # E6
  name = predictor.__name__
  with pytest.raises(errors.UsageError, match=rf"{name}\.scale = 31 is smaller .* 32 pixels"):
    predictor(net, scale=31)
  predictor(net, scale=32)


def test_unknown_average_is_refused(net):
  with pytest.raises(errors.UsageError, match=r"Dense.average = 'score' is unknown.*'scores'"):
    dense.Dense(net, 32, average="score")


def test_predictors_say_what_they_do(net):
  assert centre.Centre(net, 40).describe() == "centre 32 of 40"
  assert centre.Centre(net, 40, flip=True).describe() == "centre 32 of 40, flip"
  assert dense.Dense(net, 40).describe() == "dense Q=40, mean of scores, flip"
  assert (
    dense.Dense(net, 40, flip=False, average="posteriors").describe()
    == "dense Q=40, mean of posteriors"
  )
