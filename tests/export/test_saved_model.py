"""What is served is what was measured."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.export import nets
from vggtf import errors, images
from vggtf.export import integrity, limits, saved_model, served
from vggtf.predictors import centre, dense, mean, multi_crop, multi_scale, ten_crop

LABELS, CLASSES = nets.LABELS, nets.CLASSES


@pytest.fixture(scope="module")
def encoded():
  return nets.encoded()


def serving(folder, signature="serving_default"):
  return tf.saved_model.load(str(folder)).signatures[signature]


@pytest.fixture(scope="module")
def exported():
  """Returns a predictor, the folder that it was exported to, and its signatures."""
  predictor, folder = nets.exported_dense()
  return predictor, folder, tf.saved_model.load(str(folder)).signatures


def test_answers_are_the_predictors_posteriors(exported, encoded):
  predictor, _, signatures = exported
  answer, expected = signatures["serving_default"], nets.measured(predictor, encoded)
  assert np.ptp(expected, axis=0).max() > 0.1  # pictures are told apart
  reply = answer(images=tf.constant(encoded))
  np.testing.assert_allclose(reply["probabilities"], expected, rtol=0, atol=1e-6)
  alone = [answer(images=tf.constant([one]))["probabilities"][0] for one in encoded[:3]]
  np.testing.assert_allclose(alone, expected[:3], rtol=0, atol=1e-6)


def test_classes_and_labels_are_the_most_probable_in_order(exported, encoded):
  reply = exported[2]["serving_default"](images=tf.constant(encoded))
  assert set(reply) == {"probabilities", "classes", "labels"}
  order = np.argsort(-reply["probabilities"].numpy(), axis=1, kind="stable")[:, :5]
  np.testing.assert_array_equal(reply["classes"], order)
  names = [[label.decode() for label in row] for row in reply["labels"].numpy()]
  assert names == [[LABELS[index] for index in row] for row in order]
  assert reply["classes"].dtype == tf.int32


def test_pixels_answer_as_their_file_does(exported, encoded):
  pixels = np.stack([images.decode(one) for one in (encoded[0], encoded[2])])
  reply = exported[2]["images"](images=tf.constant(pixels))
  expected = exported[2]["serving_default"](images=tf.constant([encoded[0], encoded[2]]))
  for name, values in expected.items():
    np.testing.assert_array_equal(reply[name], values)


def test_examples_are_classified(exported, encoded):
  def example(key, value):
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature={key: value})).SerializeToString()

  classify = exported[2]["classify"]
  # The key is that of the converter's records, so that these can be sent as they are.
  reply = classify(inputs=tf.constant([example("image/encoded", one) for one in encoded]))
  expected = exported[2]["serving_default"](images=tf.constant(encoded))
  np.testing.assert_array_equal(reply["classes"], expected["labels"])
  best = np.sort(expected["probabilities"], axis=1)[:, ::-1][:, :5]
  np.testing.assert_array_equal(reply["scores"], best)
  for wrong in (b"no proto", example("image", encoded[0])):
    with pytest.raises(tf.errors.InvalidArgumentError):
      classify(inputs=tf.constant([wrong]))


def test_features_are_the_nets_at_the_centre_crop(exported, encoded):
  predictor, _, signatures = exported
  found = signatures["features"](images=tf.constant(encoded))["features"]
  crops = centre.Centre(predictor.model, predictor.scale)
  views = np.stack([crops.prepare(images.decode(one)) for one in encoded])
  expected = predictor.model(tf.constant(views)).features
  assert found.shape == (len(encoded), 256)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_score_maps_are_posteriors_of_places(exported, encoded):
  predictor, _, signatures = exported
  answer = signatures["score_map"]
  files = [encoded[0], encoded[2]]  # of one size
  found = answer(images=tf.constant(files))["posteriors"]
  whole = np.stack([images.rescale(images.decode(one), 64) for one in files])
  expected = tf.nn.softmax(predictor.model.score_map(whole))
  assert found.shape == (2, 2, 3, CLASSES)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
  with pytest.raises(tf.errors.InvalidArgumentError, match="images of one size expected"):
    answer(images=tf.constant([encoded[0], encoded[3]]))


def test_empty_batch_has_empty_answers(exported):
  reply = exported[2]["serving_default"](images=tf.constant([], tf.string))
  assert reply["probabilities"].shape == (0, CLASSES)
  assert reply["classes"].shape == reply["labels"].shape == (0, 5)


def test_what_is_no_picture_is_an_error_of_the_client(exported, encoded):  # S5
  answer = exported[2]["serving_default"]
  for wrong in (b"", b"no picture", encoded[0][:-100], encoded[2][:-100]):
    with pytest.raises(tf.errors.InvalidArgumentError):
      answer(images=tf.constant([encoded[1], wrong]))
  with pytest.raises(tf.errors.InvalidArgumentError, match="65 images in a request"):
    answer(images=tf.constant(encoded[:1] * 65))
  assert answer(images=tf.constant(encoded[:1]))["labels"].shape == (1, 5)  # and lives


def test_signatures_are_what_a_server_shows(exported):
  answer = exported[2]["serving_default"]
  ((name, spec),) = answer.structured_input_signature[1].items()
  assert (name, spec.dtype, spec.shape.as_list()) == ("images", tf.string, [None])
  shapes = {name: spec.shape.as_list() for name, spec in answer.structured_outputs.items()}
  assert shapes["probabilities"] == [None, CLASSES]
  methods = {}
  saved = saved_model_pb2.SavedModel.FromString((exported[1] / "saved_model.pb").read_bytes())
  for name, signature in saved.meta_graphs[0].signature_def.items():
    if not name.startswith("__"):
      methods[name] = signature.method_name.rpartition("/")[2]
  assert methods == {
    "serving_default": "predict",
    "images": "predict",
    "features": "predict",
    "score_map": "predict",
    "classify": "classify",
  }


def test_the_vocabulary_travels_along(exported):
  text = (exported[1] / "assets" / "labels.txt").read_text(encoding="utf-8")
  assert tuple(text.splitlines()) == LABELS


def test_it_lies_where_servers_look(exported):
  predictor, folder, _ = exported
  assert folder.name == "70"
  assert folder.parent.name == predictor.name
  assert [path.name for path in folder.parent.iterdir()] == ["70"]
  assert (folder / "saved_model.pb").exists()


def dense_scales(net):
  return multi_scale.MultiScale(net, dense.Dense, (16, 24))


PREDICTORS = {
  "ten_crop": lambda net: ten_crop.TenCrop(net, 12),
  "combined": lambda net: mean.Mean(net, [dense_scales, lambda n: centre.Centre(n, 12)], "both"),
}
MORE = {
  "centre": lambda net: centre.Centre(net, 12, flip=True),
  "multi_crop": lambda net: multi_crop.MultiCrop(net, 16, grid=3),
  "multi_scale": dense_scales,
}


@pytest.mark.parametrize(
  "name", [*PREDICTORS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
)
def test_every_predictor_is_served(name, encoded):
  net = nets.Tiny()
  predictor = (PREDICTORS | MORE)[name](net)
  bounds = limits.Limits(together=4)  # less than a request: several passes
  answer = served.Served(net, predictor, LABELS, bounds).signatures()["serving_default"]
  found = answer(images=tf.constant(encoded))["probabilities"]
  np.testing.assert_allclose(found, nets.measured(predictor, encoded), rtol=0, atol=1e-6)


def test_a_net_that_only_the_predictor_knows_is_saved_too(encoded, tmp_path):
  class Two:
    """Holds a second net where tf.Module does not look."""

    name, scale, fixed_size = "two", 12, True

    def __init__(self, first, second):
      self._parts = {id(net): centre.Centre(net, 12) for net in (first, second)}

    def prepare(self, image):
      return next(iter(self._parts.values())).prepare(image)

    def __call__(self, views):
      return tf.add_n([part(views) for part in self._parts.values()]) / 2

  net = nets.Tiny()
  predictor = Two(net, nets.Tiny(seed=1))
  folder = saved_model.export(tmp_path, net, predictor, LABELS, version=1)
  found = serving(folder)(images=tf.constant(encoded))["probabilities"]
  np.testing.assert_allclose(found, nets.measured(predictor, encoded), rtol=0, atol=1e-6)


def test_fewer_classes_than_are_shown_and_no_features(encoded):
  class Bare(nets.Tiny):
    def __call__(self, pictures, training=None):
      return super().__call__(pictures)._replace(features=None)

  net = Bare()
  net.weights = tf.Variable(net.weights[:, :3])
  signatures = served.Served(net, centre.Centre(net, 12), LABELS[:3], limits.Limits()).signatures()
  assert "features" not in signatures
  reply = signatures["serving_default"](images=tf.constant(encoded[:1]))
  assert {label.decode() for label in reply["labels"].numpy()[0]} == set(LABELS[:3])


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in saved_model.FORMS if form != "variables"])
def test_weights_may_be_constants(form, encoded, tmp_path):
  net = nets.build_vgg()
  predictor = dense.Dense(net, 64)
  expected = nets.measured(predictor, encoded)
  folder = saved_model.export(tmp_path, net, predictor, LABELS, version=1, form=form)
  found = serving(folder)(images=tf.constant(encoded))["probabilities"]
  for name in ("variables", "fingerprint.pb"):  # the latter was of the file with variables
    assert not (tmp_path / "dense" / "1" / name).exists()
  assert list(tf.saved_model.load(folder).signatures) == ["serving_default"]
  # The net's own weights were rounded, so that it stays what was exported.
  np.testing.assert_allclose(found, nets.measured(predictor, encoded), rtol=0, atol=1e-6)
  drift = np.abs(found - expected).max()
  if form == "frozen":
    assert drift < 1e-6
  else:
    assert 1e-5 < drift < 0.05
    other = saved_model.export(tmp_path, net, predictor, LABELS, version=2, form="frozen")
    sizes = [integrity.size(tmp_path / "dense" / version) for version in "12"]
    weights = sum(v.shape.num_elements() for v in net.variables)
    assert sizes[1] - sizes[0] == pytest.approx(2 * weights, rel=0.05)
    assert other.endswith("/dense/2")


def test_an_unknown_form_is_refused(tmp_path):
  net = nets.Tiny()
  with pytest.raises(errors.UsageError, match=r"export\.run\.form = 'int8' is unknown"):
    saved_model.export(tmp_path, net, centre.Centre(net, 12), LABELS, version=1, form="int8")


def test_requests_are_read_in_passes_that_fit():
  net = nets.Tiny()
  views = served.Served(net, ten_crop.TenCrop(net, 16), LABELS, limits.Limits(together=16))
  assert views._count_together() == 4  # a square has four times the pixels of a crop
  assert (
    served.Served(
      net, ten_crop.TenCrop(net, 64), LABELS, limits.Limits(together=16)
    )._count_together()
    == 1
  )
