"""The nets against other people's: Keras's applications and a PyTorch net."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import costs, torch_vgg
from tests.peers import needs_torch, torch
from vggtf import contracts, errors
from vggtf.models import vgg
from vggtf.nn import initializers

MEAN = (123.68, 116.779, 103.939)
SMALL = {"classes": 10, "mean_rgb": MEAN, "input_size": 32, "width": 1 / 16}


def build(**options):
  """Returns a net whose biases are not 0 and whose logits spread over tens, as a trained net's."""
  model = vgg.VGG(**{"mean_rgb": MEAN, "initializer": initializers.He(), **options})
  for number, layer in enumerate(model.layers.values()):
    layer.biases.assign(tf.random.stateless_normal(layer.biases.shape, (7, number)))
  model.layers["fc8"].weights.assign(model.layers["fc8"].weights / 16)
  return model


def images(count, height, width=None):
  shape = (count, height, width or height, 3)
  return tf.constant(np.random.default_rng(3).integers(0, 256, shape), tf.uint8)


def difference(ours, theirs, record):
  assert np.std(theirs) > 0.1  # logits near 0 would agree whatever the net did
  found = float(np.abs(np.asarray(ours) - theirs).max())
  record("max_abs_difference", found)
  print(f"max abs difference {found:.2e}, logits of std {np.std(theirs):.2f}")
  return found


@pytest.mark.parametrize("config", ["D", pytest.param("E", marks=pytest.mark.slow)])
def test_logits_at_224_are_those_of_keras(config, record_property):
  model = build(classes=1000, config=config)
  make = {"D": keras.applications.VGG16, "E": keras.applications.VGG19}[config]
  theirs = make(weights=None, include_top=True, classifier_activation=None)
  with_weights = [layer for layer in theirs.layers if layer.weights]
  for ours, layer in zip(model.layers.values(), with_weights, strict=True):
    kernel, bias = layer.weights
    kernel.assign(tf.reshape(ours.weights, kernel.shape))
    bias.assign(ours.biases)
  batch = images(1, 224)
  expected = np.asarray(theirs(tf.cast(batch, tf.float32) - MEAN))
  assert difference(model(batch).logits, expected, record_property) < 1e-3


@needs_torch
@pytest.mark.parametrize(
  ("config", "input_size", "width", "lrn_form"),
  [
    ("A", 64, 0.25, "alexnet"),
    ("A-LRN", 64, 0.25, "alexnet"),
    ("A-LRN", 64, 0.25, "caffe"),
    ("B", 224, 0.25, "alexnet"),
    ("B-shallow", 96, 0.25, "alexnet"),
    ("C", 96, 0.25, "alexnet"),
    ("D", 64, 0.25, "alexnet"),
    ("E", 64, 0.25, "alexnet"),
  ],
)
def test_logits_are_those_of_torch(config, input_size, width, lrn_form, record_property):
  options = {"config": config, "input_size": input_size, "width": width, "lrn_form": lrn_form}
  model = build(classes=100, **options)
  features, classifier = torch_vgg.build(classes=100, **options)
  torch_vgg.copy_weights(model, features, classifier)
  batch = images(2, input_size)
  with torch.no_grad():
    expected = classifier(features(torch_vgg.prepare(batch, MEAN))).numpy()
  assert difference(model(batch).logits, expected, record_property) < 1e-3


@needs_torch
@pytest.mark.parametrize(("config", "jit_compile"), [("C", False), ("A", True)])
def test_gradients_are_those_of_torch(config, jit_compile):
  model = build(**SMALL, config=config, dropout=0.0)  # a rate of 0: training, and yet comparable
  features, classifier = torch_vgg.build(config, 10, input_size=32, width=1 / 16)
  torch_vgg.copy_weights(model, features, classifier)
  batch, labels = images(4, 32), np.array([0, 3, 9, 3])

  @tf.function(jit_compile=jit_compile)
  def differentiate(batch, labels):
    with tf.GradientTape() as tape:
      logits = model(batch, contracts.Training(seed=tf.constant([1, 2]))).logits
      losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
      loss = tf.reduce_mean(losses)
    layers = [[layer.weights, layer.biases] for layer in model.layers.values()]
    return tape.gradient(loss, layers)

  logits = classifier(features(torch_vgg.prepare(batch, MEAN)))
  torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
  gradients = differentiate(batch, labels)
  for (weights, biases), layer in zip(
    gradients, torch_vgg.weighted(features, classifier), strict=True
  ):
    expected = layer.weight.grad.numpy()
    ours = torch_vgg.to_torch(weights.numpy(), layer)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    expected = layer.bias.grad.numpy()
    np.testing.assert_allclose(biases, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("config", "norm"), [("A-LRN", None), ("B", "group")])
def test_relus_after_poolings_change_no_bit(config, norm):
  model = build(**SMALL, config=config, norm=norm, dropout=0.0)
  batch, found = images(4, 32), []
  for training in (None, contracts.Training(seed=tf.constant([1, 2]))):
    with tf.GradientTape() as tape:
      outputs = model(batch, training)
      total = tf.reduce_sum(outputs.logits**2)
    found.append([outputs.logits, *tape.gradient(total, model.trainable_variables)])
  for before, after in zip(*found, strict=True):
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
  ("config", "count"),
  [
    ("A", 132_863_336),
    ("A-LRN", 132_863_336),
    ("B", 133_047_848),
    ("B-shallow", 10_860_672 + 123_642_856),  # five 5x5 convolutions, fc6 to fc8
    ("C", 133_638_952),
    ("D", 138_357_544),
    ("E", 143_667_240),
  ],
)
def test_number_of_parameters(config, count):
  make = functools.partial(vgg.VGG, classes=1000, mean_rgb=MEAN, config=config)
  assert costs.parameters(make) == count


@pytest.mark.parametrize(
  ("head", "count"),
  [("box", 134_276_932), ("class_boxes", 150_648_544), ("features", 138_357_544 - 4097 * 1000)],
)
def test_number_of_parameters_with_another_head(head, count):
  make = functools.partial(vgg.VGG, classes=1000, mean_rgb=MEAN, head=head)
  assert costs.parameters(make) == count


def test_one_5x5_costs_more_than_two_3x3():
  make = functools.partial(vgg.VGG, classes=1000, mean_rgb=MEAN)
  shallow, deep = (
    costs.multiply_adds(functools.partial(make, config=config)) for config in ("B-shallow", "B")
  )
  assert sum(shallow.values()) == 9_356_017_664
  assert sum(deep.values()) == 11_308_466_176
  # 25 C^2 against 2 * 9 C^2 where channels do not change (section 2.3)
  assert shallow["conv5_1"] * 18 == (deep["conv5_1"] + deep["conv5_2"]) * 25


@pytest.mark.parametrize("head", ["box", "class_boxes", "features"])
def test_heads_share_all_but_the_last_layer(head):
  model, other = build(**SMALL), vgg.VGG(**SMALL, head=head)
  names = [name for name in model.layers if name != "fc8"]
  assert list(other.layers) == names + ["fc8_box"] * (head != "features")
  for name in names:
    other.layers[name].weights.assign(model.layers[name].weights)
    other.layers[name].biases.assign(model.layers[name].biases)
  classified, outputs = model(images(2, 32)), other(images(2, 32))
  assert outputs.logits is None
  np.testing.assert_array_equal(outputs.features, classified.features)
  larger = other.score_map(images(1, 64, 96))
  if head == "features":
    assert outputs.boxes is None
    np.testing.assert_array_equal(other.score_map(images(2, 32))[:, 0, 0], outputs.features)
    assert larger.shape == (1, 2, 3, 256)
    return
  last = other.layers["fc8_box"]
  last.biases.assign(tf.random.stateless_normal(last.biases.shape, (7, 7)))
  weights = last.weights[0, 0].numpy().astype(np.float64)
  expected = classified.features.numpy() @ weights + last.biases.numpy()
  shape = {"box": (4,), "class_boxes": (10, 4)}[head]  # of a class: four numbers in a row
  boxes = other(images(2, 32)).boxes
  np.testing.assert_allclose(boxes, expected.reshape(2, *shape), rtol=1e-4, atol=1e-4)
  assert larger.shape == (1, 2, 3, *shape)
  unknown = tf.function(other.score_map, input_signature=[tf.TensorSpec([None] * 3 + [3])])
  np.testing.assert_allclose(
    unknown(tf.cast(images(2, 32), tf.float32))[:, 0, 0], boxes, rtol=1e-4, atol=1e-4
  )


def test_features_are_what_the_last_layer_is_given():
  model = build(**SMALL)
  outputs = model(images(2, 32))
  assert outputs.features.shape == (2, 256)
  assert (outputs.features.numpy() >= 0).all()  # after the ReLU
  last = model.layers["fc8"]
  expected = outputs.features.numpy() @ last.weights[0, 0].numpy() + last.biases.numpy()
  np.testing.assert_allclose(outputs.logits, expected, rtol=1e-4, atol=1e-4)
  dropped = model(images(2, 32), contracts.Training(seed=tf.constant([1, 2]))).features
  assert np.mean(dropped.numpy() == 0) > np.mean(outputs.features.numpy() == 0) + 0.2


def test_names_are_those_of_caffe():
  model = vgg.VGG(**SMALL, config="C", norm="batch")
  sides = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}
  convolutions = [f"conv{block}_{one + 1}" for block in sides for one in range(sides[block])]
  assert list(model.layers) == [*convolutions, "fc6", "fc7", "fc8"]
  names = {variable.name for variable in model.variables}
  assert len(names) == len(model.variables)
  assert {"conv1_1/weights:0", "fc8/biases:0", "norm5_3/scale:0", "mean_rgb:0"} <= names
  assert "mean_rgb:0" not in {variable.name for variable in model.trainable_variables}


def test_mean_is_subtracted_before_padding():
  model = build(**SMALL)
  grey = tf.broadcast_to(MEAN, (1, 32, 32, 3))
  black = build(**{**SMALL, "mean_rgb": (0.0, 0.0, 0.0)})
  np.testing.assert_array_equal(model(grey).logits, black(tf.zeros_like(grey)).logits)


def test_float_images_are_uint8_images():
  model = build(**SMALL)
  batch = images(2, 32)
  np.testing.assert_array_equal(model(batch).logits, model(tf.cast(batch, tf.float32)).logits)


@pytest.mark.parametrize("norm", [None, "batch", "group"])
def test_compiled_with_any_batch(norm):
  model = build(**SMALL, config="A", norm=norm)
  signature = [tf.TensorSpec([None, 32, 32, 3], tf.uint8)]
  compiled = tf.function(model, input_signature=signature, jit_compile=True)
  for count in (1, 3):
    batch = images(count, 32)
    logits = model(batch).logits
    np.testing.assert_allclose(compiled(batch).logits, logits, rtol=1e-4, atol=1e-4)


def test_dropout_drops_in_training_only():
  model = build(**SMALL)
  batch = images(2, 32)
  seeds = [contracts.Training(seed=tf.constant(seed)) for seed in ([1, 2], [1, 2], [1, 3])]
  first, again, other = (model(batch, training).logits.numpy() for training in seeds)
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 1
  assert np.abs(first - model(batch).logits).max() > 1


def test_batch_norm_makes_a_net_indifferent_to_the_scale_of_its_weights():
  model = build(**SMALL, norm="batch", dropout=0.0)
  batch = images(8, 32)
  training = contracts.Training(seed=tf.constant([1, 2]))
  logits = model(batch, training).logits.numpy()
  assert len(training.updates) == 2 * 13
  model.layers["conv3_2"].weights.assign(4 * model.layers["conv3_2"].weights)
  model.layers["conv3_2"].biases.assign(4 * model.layers["conv3_2"].biases)
  again = model(batch, contracts.Training(seed=tf.constant([1, 2]))).logits
  np.testing.assert_allclose(again, logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("config", ["A-LRN", "D"])
def test_bfloat16_is_near_float32_and_gives_float32(config):
  batch = images(2, 32)
  exact = build(**SMALL, config=config)(batch).logits.numpy()
  model = build(**SMALL, config=config, compute_dtype="bfloat16")
  logits = model(batch).logits
  assert logits.dtype == tf.float32
  assert {variable.dtype for variable in model.variables} == {tf.float32}
  error = np.linalg.norm(logits - exact) / np.linalg.norm(exact)
  assert 1e-5 < error < 0.05


def test_checkpoint_restores_by_name(tmp_path):
  model, other = build(**SMALL, norm="batch"), build(**SMALL, norm="batch", seed=1)
  batch = images(1, 32)
  assert np.abs(model(batch).logits - other(batch).logits).max() > 0.1
  path = tf.train.Checkpoint(model=model).write(str(tmp_path / "model"))
  assert "model/layers/fc6/weights/.ATTRIBUTES/VARIABLE_VALUE" in dict(
    tf.train.list_variables(path)
  )
  tf.train.Checkpoint(model=other).read(path).assert_consumed()
  np.testing.assert_array_equal(model(batch).logits, other(batch).logits)


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"config": "F"}, "'A-LRN'"),
    ({"input_size": 31}, "32"),
    ({"norm": "layer"}, "'group'"),
    ({"head": "boxes"}, "'class_boxes'"),
    ({"lrn_form": "torch"}, "'caffe'"),
    ({"pool_rounding": "up"}, "'ceil'"),
    ({"compute_dtype": "float64"}, "bfloat16"),
    ({"dropout": 1.0}, "[0, 1)"),
    ({"width": 0.0}, "positive"),
    ({"mean_rgb": (1.0,)}, "R, G, B"),
  ],
)
def test_impossible_options_are_refused_with_what_is_possible(options, told):
  with pytest.raises(errors.UsageError) as caught:
    vgg.VGG(**{**SMALL, **options})
  assert told in str(caught.value)


def test_images_of_another_size_are_refused():
  model = build(**SMALL)
  with pytest.raises(errors.UsageError, match="32, 32, 3"):
    model(images(1, 48))
  with pytest.raises(errors.UsageError, match="at least 32x32"):
    model.score_map(images(1, 48, 24))
