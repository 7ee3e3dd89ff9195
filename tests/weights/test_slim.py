"""TF-Slim's checkpoints, written here under Slim's names by TensorFlow 1's saver."""

import numpy as np
import pytest
import tensorflow as tf

from tests.weights import nets
from vggtf import errors, weights

V1, V2 = tf.compat.v1.train.SaverDef.V1, tf.compat.v1.train.SaverDef.V2
SCOPES = {"A": "vgg_a", "D": "vgg_16", "E": "vgg_19"}


def save(path, model, scope, version=V2, leave_out=(), more=()):
  """Writes a checkpoint as Slim's nets would."""
  v1 = tf.compat.v1
  values = {"global_step": np.int64(7), f"{scope}/mean_rgb": np.float32((1, 2, 3))}
  for name, layer in model.layers.items():
    inside = f"{scope}/{name.partition('_')[0]}/{name}" if "_" in name else f"{scope}/{name}"
    values[f"{inside}/weights"] = layer.weights.numpy()
    values[f"{inside}/biases"] = layer.biases.numpy()
  values |= dict(more)
  for name in leave_out:
    del values[name]
  with tf.Graph().as_default(), v1.Session() as session:
    variables = [v1.get_variable(name, initializer=value) for name, value in values.items()]
    session.run(v1.global_variables_initializer())
    v1.train.Saver(variables, write_version=version).save(
      session, str(path), write_meta_graph=False, write_state=False
    )


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("config", ["A", "D", "E"])
def test_slims_names_are_read(tmp_path, config, version):
  model = nets.build(config=config)
  save(tmp_path / "vgg.ckpt", model, SCOPES[config], version)
  expected = nets.weights_of(model, labels=None, mean_rgb=(1.0, 2.0, 3.0))
  nets.assert_equal(weights.read(tmp_path / "vgg.ckpt"), expected)
  if version == V2:
    nets.assert_equal(weights.read(tmp_path / "vgg.ckpt.index"), expected)


def test_every_fault_is_listed(tmp_path):
  save(
    tmp_path / "vgg.ckpt",
    nets.build(config="D"),
    "vgg_16",
    leave_out=["vgg_16/conv3/conv3_2/biases"],
    more=[("vgg_16/fc8/weights/Momentum", np.zeros(3, np.float32))],
  )
  with pytest.raises(errors.IntegrityError, match="vgg_16/fc8/weights/Momentum is none of"):
    weights.read(tmp_path / "vgg.ckpt")
  save(
    tmp_path / "less.ckpt",
    nets.build(config="D"),
    "vgg_16",
    leave_out=["vgg_16/conv3/conv3_2/biases", "vgg_16/conv5/conv5_3/weights"],
  )
  with pytest.raises(errors.IntegrityError) as caught:
    weights.read(tmp_path / "less.ckpt")
  assert "conv3_2/biases is missing" in str(caught.value)
  assert "conv5_3/weights is missing" in str(caught.value)


def test_damage_is_an_error(tmp_path):
  save(tmp_path / "vgg.ckpt", nets.build(config="A"), "vgg_a")
  data = next(tmp_path.glob("vgg.ckpt.data*"))
  data.write_bytes(data.read_bytes()[:1000])
  with pytest.raises(errors.IntegrityError, match="cannot be read"):
    weights.read(tmp_path / "vgg.ckpt")
