"""What is served is what was measured."""

import io
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import samples
from vggtf import errors, images
from vggtf.export import saved_model
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.predictors import centre, dense

SIDE, CLASSES = 32, 6
LABELS = ("tench", "goldfish", "crane [bird]", "crane [machine]", "café", "n|6, or so")
SIZES = ((40, 61), (57, 33), (32, 32), (75, 37))
PREDICTORS = {
  "centre": lambda net: centre.Centre(net, 36),
  "dense": lambda net: dense.Dense(net, 64),
}


@pytest.fixture(scope="module")
def net():
  net = vgg.VGG(
    CLASSES, (120.0, 125.0, 130.0), "A", SIDE, width=1 / 16, initializer=initializers.He()
  )
  net.layers["fc8"].weights.assign(net.layers["fc8"].weights * 0.02)  # posteriors far from 0 and 1
  return net


@pytest.fixture(scope="module", params=PREDICTORS)
def exported(request, net, tmp_path_factory):
  """Returns a predictor and the folder that it was exported to."""
  predictor = PREDICTORS[request.param](net)
  folder = tmp_path_factory.mktemp("export")
  return predictor, saved_model.export(folder, net, predictor, LABELS, version=70)


@pytest.fixture(scope="module")
def encoded():
  """Returns JPEGs of several sizes, grey among them, and a PNG."""
  pictures = []
  for seed, size in enumerate(SIZES):
    for format_, mode in (("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB")):
      file = io.BytesIO()
      Image.fromarray(samples.paint(seed, *size)).convert(mode).save(file, format_)
      pictures.append(file.getvalue())
  return pictures


def serving(folder):
  return tf.saved_model.load(str(folder)).signatures["serving_default"]


def measured(predictor, encoded):
  """Returns what an evaluation would see, picture by picture."""
  views = [predictor.prepare(images.decode(tf.constant(one)))[tf.newaxis] for one in encoded]
  return np.concatenate([predictor(view) for view in views])


def test_answers_are_the_predictors_posteriors(exported, encoded):
  predictor, folder = exported
  answer, expected = serving(folder), measured(predictor, encoded)
  assert np.ptp(expected, axis=0).max() > 0.1  # pictures are told apart
  reply = answer(images=tf.constant(encoded))
  np.testing.assert_allclose(reply["probabilities"], expected, rtol=0, atol=1e-6)
  alone = [answer(images=tf.constant([one]))["probabilities"][0] for one in encoded[:3]]
  np.testing.assert_allclose(alone, expected[:3], rtol=0, atol=1e-6)


def test_classes_and_labels_are_the_most_probable_in_order(exported, encoded):
  reply = serving(exported[1])(images=tf.constant(encoded))
  assert set(reply) == {"probabilities", "classes", "labels"}
  order = np.argsort(-reply["probabilities"].numpy(), axis=1, kind="stable")[:, :5]
  np.testing.assert_array_equal(reply["classes"], order)
  names = [[label.decode() for label in row] for row in reply["labels"].numpy()]
  assert names == [[LABELS[index] for index in row] for row in order]
  assert reply["classes"].dtype == tf.int32


def test_empty_batch_has_empty_answers(exported):
  reply = serving(exported[1])(images=tf.constant([], tf.string))
  assert reply["probabilities"].shape == (0, CLASSES)
  assert reply["classes"].shape == reply["labels"].shape == (0, 5)


def test_what_is_no_picture_is_an_error_of_the_client(exported, encoded):
  answer = serving(exported[1])
  for wrong in (b"", b"no picture", encoded[0][:-100]):
    with pytest.raises(tf.errors.InvalidArgumentError):
      answer(images=tf.constant([encoded[1], wrong]))


def test_signature_is_what_a_server_shows(exported):
  answer = serving(exported[1])
  ((name, spec),) = answer.structured_input_signature[1].items()
  assert (name, spec.dtype, spec.shape.as_list()) == ("images", tf.string, [None])
  shapes = {name: spec.shape.as_list() for name, spec in answer.structured_outputs.items()}
  assert shapes["probabilities"] == [None, CLASSES]


WITHOUT_US = """
import json, sys
sys.modules["vggtf"] = None
import tensorflow as tf
answer = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
reply = answer(images=tf.constant([open(path, "rb").read() for path in sys.argv[2:]]))
print(json.dumps({
  "probabilities": reply["probabilities"].numpy().tolist(),
  "labels": [[label.decode() for label in row] for row in reply["labels"].numpy()],
}))
"""


def test_it_is_served_where_vggtf_is_not_installed(net, encoded, tmp_path):
  predictor = PREDICTORS["dense"](net)
  folder = saved_model.export(tmp_path / "export", net, predictor, LABELS, version=70)
  paths = [tmp_path / "a.jpg", tmp_path / "b.png"]
  for path, content in zip(paths, (encoded[0], encoded[2]), strict=True):
    path.write_bytes(content)
  done = subprocess.run(
    [sys.executable, "-c", WITHOUT_US, str(folder), *map(str, paths)],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  reply = json.loads(done.stdout)
  expected = measured(predictor, (encoded[0], encoded[2]))
  np.testing.assert_allclose(reply["probabilities"], expected, rtol=0, atol=1e-6)
  assert [row[0] for row in reply["labels"]] == [LABELS[index] for index in expected.argmax(axis=1)]


def versions(folder):
  """Returns what TF Serving would take for versions."""
  return sorted(path.name for path in folder.glob("*/*") if path.name.isdigit())


def test_it_lies_where_servers_look(exported):
  predictor, folder = exported
  assert folder.name == "70"
  assert folder.parent.name == predictor.name
  assert [path.name for path in folder.parent.iterdir()] == ["70"]
  assert (folder / "saved_model.pb").exists()


@pytest.mark.parametrize("moment", ["while it is written", "before it is published"])
def test_half_an_export_is_never_seen(net, tmp_path, monkeypatch, moment):
  predictor = PREDICTORS["centre"](net)

  def killed(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    if moment == "while it is written":
      save = tf.saved_model.save

      def half(served, folder, **options):
        save(served, folder, **options)
        (pathlib.Path(folder) / "saved_model.pb").write_bytes(b"half")
        raise KeyboardInterrupt

      patch.setattr(tf.saved_model, "save", half)
    else:
      patch.setattr(pathlib.Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
      saved_model.export(tmp_path, net, predictor, LABELS, version=3)
  assert versions(tmp_path) == []
  folder = saved_model.export(tmp_path, net, predictor, LABELS, version=3)  # remains do not matter
  assert versions(tmp_path) == ["3"]
  assert [path.name for path in (tmp_path / "centre").iterdir()] == ["3"]
  assert serving(folder)


def test_what_is_served_is_never_written_over(exported, net):
  predictor, folder = exported
  before = (folder / "saved_model.pb").read_bytes()
  with pytest.raises(errors.UsageError, match="exported already; delete that folder"):
    saved_model.export(folder.parents[1], net, predictor, LABELS, version=70)
  assert (folder / "saved_model.pb").read_bytes() == before


def test_fewer_classes_than_are_shown(tmp_path):
  net = vgg.VGG(3, (0.0, 0.0, 0.0), "A", SIDE, width=1 / 16)
  folder = saved_model.export(tmp_path, net, centre.Centre(net, 32), ("a", "b", "c"), version=1)
  file = io.BytesIO()
  Image.fromarray(samples.paint(0, 40, 40)).save(file, "JPEG")
  reply = serving(folder)(images=tf.constant([file.getvalue()]))
  assert sorted(reply["labels"].numpy()[0].tolist()) == [b"a", b"b", b"c"]
