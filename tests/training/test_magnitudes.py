"""What the report says of a net, against the same computed by hand, and the paper's stall."""

import numpy as np
import pytest
import tensorflow as tf

from tests import samples
from tests.training import parts
from vggtf import contracts, errors
from vggtf.losses import softmax
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.optimizers import sgd
from vggtf.training import hooks, magnitudes, pairing


def test_magnitudes_are_those_of_the_layers_and_their_gradients():
  net, batch = parts.net(), parts.arrays(1)
  images, labels = tf.constant(batch.image[0]), tf.constant(batch.label[0])
  found = {one.layer: one for one in magnitudes.measure(net, softmax.Softmax(), images, labels)}
  assert list(found) == list(net.layers)

  maps = tf.cast(images, tf.float32) - net.mean_rgb
  first = net.layers["conv1_1"](maps).numpy().astype(np.float64)
  assert found["conv1_1"].activation == pytest.approx(first.std(), rel=1e-4)
  logits = net(images).logits.numpy().astype(np.float64)
  assert found["fc8"].activation == pytest.approx(logits.std(), rel=1e-4)

  # Without dropout the gradient by fc8's biases is that of the softmax: mean of p - y.
  posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  error = (posteriors - np.eye(parts.CLASSES)[labels]) / len(logits)
  biases = error.sum(0)
  fc7 = _hidden(net, maps)
  weights = fc7.T @ error
  expected = np.sqrt(((weights**2).sum() + (biases**2).sum()) / (weights.size + biases.size))
  assert found["fc8"].gradient == pytest.approx(expected, rel=1e-4)


def _hidden(net, maps) -> np.ndarray:
  """Returns the activations of fc7 as float64, by the layers one at a time."""
  for name, layer in net.layers.items():
    if name == "fc8":
      return tf.reshape(maps, (maps.shape[0], -1)).numpy().astype(np.float64)
    maps = tf.nn.relu(layer(maps))
    if name in ("conv1_1", "conv2_1", "conv3_2", "conv4_2", "conv5_2"):
      maps = tf.nn.max_pool2d(maps, 2, 2, "VALID")
  raise AssertionError("a VGG ends in fc8")


def test_report_goes_to_the_log_and_to_tensorboard(tmp_path, caplog):
  arrays = parts.arrays(1)
  batch = contracts.Batch(*(tf.constant(value[0]) for value in arrays))
  board = hooks.TensorBoard(tmp_path, every=1)
  with caplog.at_level("INFO", logger="vggtf"):
    found = magnitudes.report(parts.net(), softmax.Softmax(), batch, board, most=4)
  assert f"fc8      {found[-1].activation:16.2e}  {found[-1].gradient:14.2e}" in caplog.text
  tags = {}
  for event in tf.compat.v1.train.summary_iterator(str(next(tmp_path.glob("events*")))):
    for value in event.summary.value:
      tags[value.tag] = float(tf.make_ndarray(value.tensor))
  assert tags["activation_std/conv1_1"] == pytest.approx(found[0].activation)
  assert tags["gradient_rms/fc8"] == pytest.approx(found[-1].gradient)
  assert len(tags) == 2 * len(found)


def test_replicas_see_what_one_device_sees():
  arrays = parts.arrays(1)
  images, labels = tf.constant(arrays.image[0]), tf.constant(arrays.label[0])
  expected = magnitudes.measure(parts.net(), softmax.Softmax(), images, labels)
  with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
    mirrored = parts.net()
  assert isinstance(mirrored.trainable_variables[0], tf.distribute.DistributedValues)
  assert magnitudes.measure(mirrored, softmax.Softmax(), images, labels) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
  ("config", "logits", "gradient"),
  # Of the forward variance of Gaussian weights, std 0.01, pixels of rms 60 and no poolings: 3.7e-4,
  # 1.2e-6 and 9e-8 for the logits. Poolings, which keep the largest of four, add to them.
  [("A", 3.7e-4, 1e-4), ("D", 1.2e-6, 1e-6), ("E", 9e-8, 1e-7)],
)
def test_the_paper_s_draw_shrinks_the_deeper_nets_out_of_sight(config, logits, gradient):
  coarse = np.random.RandomState(1).randint(0, 256, (4, 8, 8, 3)).astype(np.float32)
  smooth = tf.image.resize(coarse, (224, 224), "bicubic")
  images = tf.cast(tf.clip_by_value(smooth, 0, 255), tf.uint8)  # of rms 62 about their mean
  net = vgg.VGG(1000, (127.5,) * 3, config=config, initializer=initializers.Gaussian(0.01))
  found = magnitudes.measure(net, softmax.Softmax(), images, tf.constant([1, 2, 3, 4]))
  assert logits < found[-1].activation < 2 * logits
  second = found[1]  # the first behind pixels, which are large
  assert gradient / 3 < second.gradient < 3 * gradient


@pytest.mark.slow
def test_a_trains_where_d_stalls():
  """At an eighth of the width, a deviation of 0.01 * sqrt(8) shrinks as 0.01 does at full width."""
  assert _loss_after("A", steps=200) < 1.0
  assert _loss_after("D", steps=200) == pytest.approx(np.log(4), abs=0.02)


def _loss_after(config: str, steps: int) -> float:
  """Returns the mean loss of the last 20 steps on plain colours, one for each of four classes."""
  net = vgg.VGG(
    4,
    (128.0,) * 3,
    config=config,
    input_size=32,
    width=1 / 8,
    dropout=0.0,
    initializer=initializers.Gaussian(0.01 * 8**0.5),
  )
  optimizer, loss, random = sgd.SGD(), softmax.Softmax(), np.random.RandomState(0)
  optimizer.build(net.trainable_variables)

  @tf.function
  def step(images, labels):
    with tf.GradientTape() as tape:
      mean = tf.reduce_mean(loss(net(images, contracts.Training(tf.constant([0, 0]))), labels))
    optimizer.apply(tape.gradient(mean, net.trainable_variables), tf.constant(0.01))
    return mean

  losses = []
  for _ in range(steps):
    labels = random.randint(0, 4, 32)
    noise = 20 * random.randn(32, 32, 32, 3)
    colours = np.stack([samples.colour(label, 4) for label in labels])[:, None, None]
    images = np.clip(colours + noise, 0, 255).astype(np.uint8)
    losses.append(float(step(tf.constant(images), tf.constant(labels, tf.int32))))
  return float(np.mean(losses[-20:]))


def test_a_loss_of_something_else_is_refused():
  net, batch = parts.net(), parts.arrays(1)
  images, labels = tf.constant(batch.image[0]), tf.constant(batch.label[0])
  boxed = contracts.Located(labels, tf.zeros([len(labels), 4]))
  with pytest.raises(errors.UsageError, match=r"boxes = True, but Softmax is no loss of boxes"):
    magnitudes.measure(net, softmax.Softmax(), images, boxed)
  with pytest.raises(errors.UsageError, match="the net has no classes to train"):
    pairing.check(softmax.Softmax(), contracts.Outputs(None), labels)
