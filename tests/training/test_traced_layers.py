import numpy as np
import pytest
import tensorflow as tf

from vggtf import contracts
from vggtf.models import vgg
from vggtf.training import traced_layers


def zeros(shape, key):
  del key
  return tf.zeros(shape)


# Table 1 of the paper, summed by hand: parameters, multiply-adds, numbers out of convolutions.
@pytest.mark.parametrize(
  ("config", "parameters", "products", "maps"),
  [
    ("A", 132_863_336, 7.61e9, 7.43e6),
    ("B", 133_047_848, 11.31e9, 12.24e6),
    ("C", 133_638_952, 11.77e9, 13.55e6),
    ("D", 138_357_544, 15.47e9, 13.55e6),
    ("E", 143_667_240, 19.63e9, 14.85e6),
  ],
)
def test_the_paper_s_nets_have_the_paper_s_sizes(config, parameters, products, maps):
  net = vgg.VGG(1000, (0.0, 0.0, 0.0), config=config, initializer=zeros)
  layers = traced_layers.trace(net).layers
  assert sum(layer.parameters for layer in layers) == parameters
  assert sum(layer.multiply_adds for layer in layers) == pytest.approx(products, abs=5e6)
  numbers = sum(np.prod(layer.shape) for layer in layers if layer.is_convolution)
  assert numbers == pytest.approx(maps, abs=5e3)
  last = {"A": 150, "B": 156, "C": 156, "D": 212, "E": 268}[config]
  assert [layer.field for layer in layers[-4:]] == [last, *[last + 6 * 32] * 3]


class Branched(tf.Module):
  """Two groups, a wide kernel beside a narrow one, a sum, a mean, a matrix; nothing of ours."""

  input_size = 16
  classes = 5

  def __init__(self):
    super().__init__()
    with tf.name_scope("grouped"):
      self.grouped = tf.Variable(tf.ones((3, 3, 4, 8)), name="weights")
      self.biases = tf.Variable(tf.zeros(8), name="biases")
    self.first = tf.Variable(tf.ones((5, 5, 3, 8)), name="first")
    self.narrow = tf.Variable(tf.ones((1, 1, 8, 8)), name="narrow")
    self.matrix = tf.Variable(tf.ones((16, 5)), name="matrix")
    self.offset = tf.Variable(tf.zeros(5), name="offset")
    self.auxiliary = tf.Variable(tf.ones(7), name="auxiliary/weights")

  @tf.function
  def __call__(self, images, training=None):
    maps = tf.nn.conv2d(tf.cast(images, tf.float32), self.first, 2, "SAME")
    halves = zip(tf.split(maps, 2, -1), tf.split(self.grouped, 2, -1), strict=True)
    wide = tf.concat([tf.nn.conv2d(half, kernel, 1, "SAME") for half, kernel in halves], -1)
    wide = tf.nn.bias_add(wide, self.biases)
    narrow = maps + tf.nn.conv2d(maps, self.narrow, 1, "SAME")
    both = tf.reduce_mean(tf.concat([wide, narrow], -1), (1, 2))
    return contracts.Outputs(both @ self.matrix + self.offset)


def test_a_net_from_outside_needs_no_words_of_its_own():
  trace = traced_layers.trace(Branched())
  rows = [
    (row.name, row.kernel, row.shape, row.field, row.parameters, row.multiply_adds)
    for row in trace.layers
  ]
  assert rows == [
    ("first", "5x5/2", (8, 8, 8), 5, 600, 64 * 8 * 75),
    ("grouped", "3x3", (8, 8, 8), 9, 296, 64 * 8 * 36),
    ("narrow", "1x1", (8, 8, 8), 5, 64, 64 * 8 * 8),
    ("pool1", "all", (16,), 23, 0, 0),
    ("matrix", "all", (5,), 23, 85, 80),
  ]
  assert [row.activation_bytes for row in trace.layers] == [2048, 2048, 2048, 64, 20]
  assert [variable.name for variable in trace.unused] == ["auxiliary/weights:0"]


def test_norms_are_rows_of_their_own_and_do_not_widen_what_is_seen():
  options = {"config": "A", "input_size": 32, "width": 1 / 16}
  plain = traced_layers.trace(vgg.VGG(10, (0, 0, 0), **options)).layers
  for norm in ("batch", "group"):
    layers = traced_layers.trace(vgg.VGG(10, (0, 0, 0), norm=norm, **options)).layers
    assert [(row.name, row.parameters) for row in layers[:2]] == [("conv1_1", 112), ("norm1_1", 8)]
    fields = {row.name: row.field for row in layers}
    assert [fields[row.name] for row in plain] == [row.field for row in plain]


def test_outputs_are_those_of_the_layers():
  net = vgg.VGG(10, (0, 0, 0), config="A", input_size=32, width=1 / 16)
  trace = traced_layers.trace(net, batch=3)
  images = tf.constant(np.random.RandomState(0).randint(0, 256, (3, 32, 32, 3)), tf.uint8)
  outputs = dict(zip([row.name for row in trace.layers], trace.outputs(images), strict=True))
  np.testing.assert_allclose(outputs["fc8"], net(images).logits, rtol=1e-5, atol=1e-6)
  first = net.layers["conv1_1"](tf.cast(images, tf.float32))
  np.testing.assert_allclose(outputs["conv1_1"], first, rtol=1e-5, atol=1e-4)
  assert trace.layers[0].parameters == 3 * 9 * 4 + 4
