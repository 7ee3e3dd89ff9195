"""Keras's files against Keras: its own nets, its own preprocessing, its own writers and readers."""

import io
import pathlib

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import datasets

from tests.weights import nets
from vggtf import errors, images, weights

APPLICATIONS = {"D": keras.applications.VGG16, "E": keras.applications.VGG19}


def keras_like(width=1 / 16, size=64, classes=7):
  """Returns VGG-16 with the layers' names of keras.applications, small, with random weights."""
  maps = inputs = keras.Input((size, size, 3))
  for block, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
    for index in range(1, count + 1):
      maps = keras.layers.Conv2D(
        round(channels * width), 3, padding="same", activation="relu",
        name=f"block{block}_conv{index}",
      )(maps)  # fmt: skip
    maps = keras.layers.MaxPooling2D(name=f"block{block}_pool")(maps)
  maps = keras.layers.Flatten(name="flatten")(maps)
  for name in ("fc1", "fc2"):
    maps = keras.layers.Dense(round(4096 * width), activation="relu", name=name)(maps)
  net = keras.Model(inputs, keras.layers.Dense(classes, name="predictions")(maps))
  draws = np.random.default_rng(1)
  for variable in net.weights:
    deviation = np.sqrt(2 / np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 1
    variable.assign(draws.normal(size=variable.shape) * deviation)
  return net


def answer(net, batch) -> np.ndarray:
  pixels = keras.applications.vgg16.preprocess_input(np.float32(batch))
  return np.asarray(net(pixels))


def filled(found: weights.Weights, **options):
  model = nets.build(mean_rgb=found.facts.mean_rgb, **options)
  for variable in model.variables:
    if "/" in variable.name:
      variable.assign(found.tensors[variable.name.split(":")[0]])
  return model


@pytest.mark.parametrize("form", ["model.h5", "net.weights.h5", "net.keras"])
def test_what_keras_writes_answers_alike(tmp_path, form):
  theirs = keras_like()
  (theirs.save if form != "net.weights.h5" else theirs.save_weights)(tmp_path / form)
  found = weights.read(tmp_path / form)
  batch = nets.images(2, 64)
  nets.assert_near(filled(found)(batch).logits, answer(theirs, batch))


@pytest.mark.parametrize("form", ["net.h5", "net.weights.h5", "net.keras"])
def test_what_is_written_keras_loads(tmp_path, form):
  model = nets.build()
  weights.write(tmp_path / form, nets.weights_of(model))
  batch = nets.images(2, 64)
  if form == "net.keras":
    theirs = keras.models.load_model(tmp_path / form)
    nets.assert_near(tf.nn.softmax(model(batch).logits), answer(theirs, batch))
  else:
    theirs = keras_like()
    theirs.load_weights(tmp_path / form)
    nets.assert_near(model(batch).logits, answer(theirs, batch))


def test_keras_model_rounds_poolings_as_the_net(tmp_path):
  model = nets.build(input_size=72, pool_rounding="ceil")
  content = nets.weights_of(model, input_size=72, pool_rounding="ceil")
  weights.write(tmp_path / "net.keras", content)
  batch = nets.images(2, 72)
  theirs = answer(keras.models.load_model(tmp_path / "net.keras"), batch)
  nets.assert_near(tf.nn.softmax(model(batch).logits), theirs)


def test_the_oldest_names_of_arrays_are_read(tmp_path):
  content = nets.small("D", labels=None, input_size=None)
  weights.write(tmp_path / "new.h5", content)
  with h5py.File(tmp_path / "new.h5") as new, h5py.File(tmp_path / "old.h5", "w") as old:
    old.attrs["layer_names"] = [one.encode() for one in (*new, "block1_pool")]
    old.create_group("block1_pool").attrs["weight_names"] = []
    for layer in new:
      group = old.create_group(layer)
      kernel, bias = new[layer].attrs["weight_names"]
      for name, key in ((f"{layer}_W_1:0", kernel), (f"{layer}_b_1:0", bias)):
        group.create_dataset(name, data=new[layer][key])
      group.attrs["weight_names"] = [f"{layer}_W_1:0".encode(), f"{layer}_b_1:0".encode()]
  nets.assert_equal(weights.read(tmp_path / "old.h5"), content)


def test_a_bomb_is_refused(tmp_path):  # S7
  weights.write(tmp_path / "net.h5", nets.small("D"))
  (tmp_path / "net.h5.json").unlink()
  with h5py.File(tmp_path / "net.h5", "a") as file:
    del file["fc1/fc1/kernel:0"]
    file.create_dataset("fc1/fc1/kernel:0", (2**40, 4), "f4", chunks=(1024, 4))
  with pytest.raises(errors.IntegrityError, match="unpack to much more"):
    weights.read(tmp_path / "net.h5")


def test_a_lambda_inside_a_keras_file_is_not_run(tmp_path):  # S7
  maps = inputs = keras.Input((8, 8, 3))
  maps = keras.layers.Lambda(lambda x: x * 2)(maps)
  keras.Model(inputs, maps).save(tmp_path / "net.keras")
  with pytest.raises(errors.IntegrityError, match="no convolution"):
    weights.read(tmp_path / "net.keras")


@pytest.mark.slow
@pytest.mark.parametrize("config", ["D", "E"])
def test_keras_applications_on_a_photograph(tmp_path, config):
  make = APPLICATIONS[config]
  theirs = make(weights=None, classifier_activation=None)
  theirs.save_weights(tmp_path / "net.weights.h5")
  found = weights.read(tmp_path / "net.weights.h5")
  photo = datasets.load_sample_image("flower.jpg")
  file = io.BytesIO()
  Image.fromarray(photo[100:324, 200:424]).save(file, "PNG")
  batch = images.decode(file.getvalue())[tf.newaxis]
  expected = answer(theirs, batch)
  model = filled(found, config=config, classes=1000, input_size=224, width=1.0)
  nets.assert_near(model(batch).logits, expected)

  weights.write(tmp_path / "net.h5", found)
  again = make(weights=str(tmp_path / "net.h5"), classifier_activation=None)
  nets.assert_near(answer(again, batch), expected, 1e-6)


@pytest.mark.slow
def test_keras_applications_without_top(tmp_path):
  theirs = keras.applications.VGG16(weights=None, include_top=False)
  theirs.save_weights(tmp_path / "net.weights.h5")
  found = weights.read(tmp_path / "net.weights.h5")
  assert len(found.tensors) == 26
  weights.write(tmp_path / "net.h5", found)
  again = keras.applications.VGG16(weights=str(tmp_path / "net.h5"), include_top=False)
  for ours, expected in zip(again.weights, theirs.weights, strict=True):
    np.testing.assert_array_equal(ours, expected)
  assert pathlib.Path(tmp_path / "net.h5.json").exists()
