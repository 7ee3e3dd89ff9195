import numpy as np
import pytest
import tensorflow as tf

from tests.conformance import configurations
from vggtf.export import saved_model
from vggtf.predictors import centre
from vggtf.training import checkpoint


@pytest.mark.parametrize("name", configurations.NETS)
def test_checkpoint(name, tmp_path):
  net, other = configurations.net(name), configurations.net(name, seed=1)
  images = configurations.pictures(net.input_size)
  assert not np.array_equal(net(images).logits, other(images).logits)
  drawn = [variable.numpy() for variable in other.variables]
  checkpoint.Checkpoints(tmp_path).save(tf.train.Checkpoint(model=net), step=7)
  assert checkpoint.Checkpoints(tmp_path).restore_newest(tf.train.Checkpoint(model=other)) == 7
  np.testing.assert_array_equal(net(images).logits, other(images).logits)
  for variable, values in zip(other.variables, drawn, strict=True):
    variable.assign(values)


# An export takes six seconds: one net of each kind always, the others where there is time.
ALWAYS = ("alexnet", "quickstart", "vgg11_lrn")
REST = [pytest.param(n, marks=pytest.mark.slow) for n in configurations.NETS if n not in ALWAYS]


@pytest.mark.parametrize("name", [*ALWAYS, *REST])
def test_saved_model(name, tmp_path):
  net = configurations.net(name)
  images = configurations.pictures(net.input_size)
  predictor = centre.Centre(net, scale=net.input_size)
  labels = tuple(f"class {number}" for number in range(configurations.CLASSES))
  folder = saved_model.export(tmp_path, net, predictor, labels, version=1)
  answer = tf.saved_model.load(str(folder)).signatures["serving_default"]
  encoded = tf.stack([tf.io.encode_png(image) for image in images])
  np.testing.assert_allclose(answer(images=encoded)["probabilities"], predictor(images), atol=1e-6)
