import functools
import re

import gin
import numpy as np
import pytest
import tensorflow as tf

from tests.conformance import configurations
from tests.models import costs

# Trainable parameters at 1,000 classes: those of the VGG nets follow from table 1 by hand, those of
# the others from the tables of their papers (tests/models).
PARAMETERS = {
  "vgg11": 132_863_336,
  "vgg11_lrn": 132_863_336,
  "vgg13": 133_047_848,
  "vgg13_shallow": 134_503_528,
  "vgg16_1x1": 133_638_952,
  "vgg16": 138_357_544,
  "vgg19": 143_667_240,
  "finetune": 138_357_544,
  "alexnet": 60_965_224,
  "zfnet": 62_357_608,
  "googlenet": 6_998_552 + 3_188_840 + 3_190_888,  # auxiliary heads on 512 and 528 channels
  # Convolutions 3,680,160 and norms 4,224, fc6 256 * 2048 + 2048, fc7 2048^2 + 2048, fc8 2048 *
  # 1000 + 1000.
  "cifar10_vgg16": 10_456_072,
  # Convolutions 577,120, fc6 128 * 1024 + 1024, fc7 1024^2 + 1024, fc8 1024 * 1000 + 1000.
  "quickstart": 2_783_816,
}


def test_every_configuration_has_its_count():
  assert sorted(PARAMETERS) == configurations.NETS


@pytest.mark.parametrize("name", configurations.NETS)
def test_parameters(name):
  with tf.Graph().as_default():  # shapes alone: nothing is drawn or allocated
    net = configurations.constructor(name)(
      classes=configurations.CLASSES, mean_rgb=configurations.MEAN_RGB
    )
    assert sum(np.prod(variable.shape) for variable in net.trainable_variables) == PARAMETERS[name]


@pytest.mark.parametrize("name", configurations.NETS)
def test_cost_is_what_the_header_says(name):
  """A step is three forward passes, and a multiply-add two operations."""
  text = (configurations.GIN / f"{name}.gin").read_text()
  make = functools.partial(
    configurations.constructor(name),
    classes={"cifar10_vgg16": 10}.get(name, configurations.CLASSES),
    mean_rgb=configurations.MEAN_RGB,
  )
  multiply_adds = sum(costs.multiply_adds(make).values())
  if said := re.search(r"([\d.]+) ([GM]) multiply-adds an image", text):
    exact = multiply_adds / {"G": 1e9, "M": 1e6}[said[2]]
    assert float(said[1]) == pytest.approx(exact, abs=0.0051 if said[2] == "G" else 0.051)
  if said := re.search(r"([\d.]+e\d+) operations", text):
    images = [
      gin.query_parameter(one) for one in ("train.run.steps", "pipeline.TrainingFeed.batch_size")
    ]
    assert float(said[1]) == pytest.approx(6.0 * multiply_adds * np.prod(images), rel=0.025)
