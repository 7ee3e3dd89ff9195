"""Nets D and E through every protocol on real photos, against PyTorch on Pillow's crops."""

import contextlib
import io
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests import samples
from tests.models import torch_vgg
from tests.peers import needs_torch, torch
from tests.predictors.nets import softmax
from vggtf.data import shards
from vggtf.evaluators import classification
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.predictors import dense, fusion, mean, multi_crop, multi_scale

SCALES, SIDE, CLASSES, PHOTOS = (256, 384, 512), 224, 1000, 16
MEAN_RGB = (123.68, 116.779, 103.939)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]


def photos(shared_data) -> list[bytes]:
  """Returns JPEGs of several shapes, wide ones and tall ones."""
  with tarfile.open(shared_data / "imagenet200.tar") as archive:
    members = sorted((m for m in archive if m.name.lower().endswith("jpeg")), key=lambda m: m.name)
    chosen = members[:: len(members) // PHOTOS][:PHOTOS]
    return [archive.extractfile(member).read() for member in chosen]


@pytest.fixture(scope="module")
def data_dir(shared_data, tmp_path_factory):
  """Returns a data set of the photos, stored at all scales."""
  found = photos(shared_data)
  stored = {
    split: {
      scale: [samples.record(split, at, CLASSES, scale, one) for at, one in enumerate(chosen)]
      for scale in SCALES
    }
    for split, chosen in (("train", found[:1]), ("validation", found))
  }
  labels = [(f"n{label:04d}", f"class {label}") for label in range(CLASSES)]
  return samples.write_set(tmp_path_factory.mktemp("photos") / "data", stored, labels)


def build(letter, width):
  """Returns a net that tells photos apart, as ours and as PyTorch's (features, classifier)."""
  net = vgg.VGG(CLASSES, MEAN_RGB, letter, width=width, initializer=initializers.He(), seed=7)
  # Random logits are hundreds apart where pixels are.
  net.layers["fc8"].weights.assign(net.layers["fc8"].weights * 0.03)
  theirs = torch_vgg.build(letter, CLASSES, width=width)
  torch_vgg.copy_weights(net, *theirs)
  return net, theirs


def by_torch(layers, pictures) -> np.ndarray:
  with torch.no_grad():
    return layers(torch_vgg.prepare(np.stack(pictures), MEAN_RGB)).numpy()


def crops(theirs, picture: Image.Image) -> np.ndarray:
  """Returns float64 [CLASSES]: the mean over Pillow's 50 crops."""
  free = picture.width - SIDE, picture.height - SIDE
  views = []
  for row in range(5):
    for column in range(5):
      left, top = column * free[0] // 4, row * free[1] // 4
      crop = picture.crop((left, top, left + SIDE, top + SIDE))
      views += [np.asarray(crop), np.asarray(ImageOps.mirror(crop))]
  return softmax(by_torch(torch.nn.Sequential(*theirs), views)).mean(axis=0)


def slid(theirs, picture: Image.Image) -> np.ndarray:
  """Returns float64 [CLASSES]: the mean over both ways round of the whole picture."""
  features, classifier = theirs
  whole = torch.nn.Sequential(features, torch_vgg.convolve_classifier(classifier, 7))
  both = [np.asarray(picture), np.asarray(ImageOps.mirror(picture))]
  return softmax(by_torch(whole, both).mean(axis=(2, 3))).mean(axis=0)


def combine(net, scales):
  def several(predictor):
    return lambda model: multi_scale.MultiScale(model, predictor, scales)

  return mean.Mean(net, (several(dense.Dense), several(multi_crop.MultiCrop)), "combined")


def measured(data_dir, letters, scales, width):
  """Returns what ours measured, and theirs: for each net, dense, crops and both."""
  (net, first), *others = (build(letter, width) for letter in letters)
  torch.set_num_threads(2)

  def fuse(model):
    runs = dict(zip(letters[1:], (other for other, _ in others), strict=True))
    return fusion.Fusion(
      model,
      lambda one: combine(one, scales),
      tuple(runs),
      lambda run: contextlib.nullcontext(),
      runs.get,
    )

  found = classification.Classification(net, data_dir, fuse, batch_size=16).measure(posteriors=True)
  stored = shards.Shards(data_dir, "validation")
  pictures = {
    scale: [
      Image.open(io.BytesIO(record.encoded))
      for record in sorted(
        (stored.read(number, scale) for number in range(stored.count)), key=lambda r: r.id
      )
    ]
    for scale in scales
  }
  expected = []
  for theirs in (first, *(peer for _, peer in others)):
    ways = [
      np.mean([[look(theirs, picture) for picture in pictures[scale]] for scale in scales], axis=0)
      for look in (slid, crops)
    ]
    expected.append((*ways, np.mean(ways, axis=0)))
  return found, expected


def check(found, expected):
  """Compares the means: dense, crops and both of each net, and all nets."""
  means = [one.answers.posteriors for one in found if one.answers.posteriors is not None]
  theirs = [way for net in expected for way in net]
  theirs.append(np.mean([net[-1] for net in expected], axis=0))
  assert len(means) == len(theirs)
  for ours, other in zip(means, theirs, strict=True):
    assert other.max() > 0.05  # far from 1 / 1000, so that 1e-4 means something
    assert np.abs(other[0] - other[1]).max() > 0.01
    np.testing.assert_allclose(ours, other, rtol=0, atol=1e-4)


@needs_torch
@pytest.mark.parametrize("width", [0.25, 1.0])
def test_d_and_e_agree_with_torch_in_every_protocol(data_dir, width):
  """At the whole width the crops are 84 tera-multiply-adds, half an hour on 2 cores."""
  check(*measured(data_dir, "DE", SCALES, width))
