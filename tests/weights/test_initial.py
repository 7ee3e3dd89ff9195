"""Weights move by name into nets that were just drawn, and nothing else changes."""

import functools

import gin
import numpy as np
import pytest

from tests import samples
from tests.conformance import configurations
from tests.jobs import runs
from vggtf import config, errors, weights
from vggtf.jobs import train
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.optimizers import groups, sgd
from vggtf.weights import initial

STAGED = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")  # section 3.1


def net(config="A", classes=4, seed=0, width=1 / 16, **options) -> vgg.VGG:
  return vgg.VGG(
    classes,
    (1.0, 2.0, 3.0),
    config=config,
    input_size=32,
    width=width,
    seed=seed,
    initializer=initializers.He(),
    **options,
  )


def tensors(model) -> dict[str, np.ndarray]:
  return {one.name.removesuffix(":0"): one.numpy() for one in model.variables}


@pytest.fixture
def trained(tmp_path):
  """Returns a file with the weights of a net A, and them."""
  values = {name: one + 1 for name, one in tensors(net(seed=7)).items() if "/" in name}
  weights.write(tmp_path / "a.npz", weights.Weights(values))
  return str(tmp_path / "a.npz"), values


@pytest.mark.parametrize("config", ["B", "D"])
def test_staging_copies_the_paper_s_layers_and_draws_the_rest(trained, config):
  source, values = trained
  model, before = net(config), tensors(net(config))
  report = initial.FromWeights(source, STAGED)(model)
  for name, value in tensors(model).items():
    layer = name.rpartition("/")[0]
    np.testing.assert_array_equal(value, values[name] if layer in STAGED else before[name])
  copied, drawn = report.split("; drawn: ")
  assert f"copied from {source}: {', '.join(STAGED)} (14 tensors, " in copied
  convolutions = [name for name in model.layers if name not in STAGED]
  assert drawn == ", ".join(convolutions)


def test_other_classes_draw_the_last_layer_alone(trained):
  source, values = trained
  model, before = net(classes=7), tensors(net(classes=7))
  report = initial.FromWeights(source)(model)
  assert report.endswith("drawn: fc8")
  for name, value in tensors(model).items():
    np.testing.assert_array_equal(
      value, before[name] if name[:3] in ("fc8", "mea") else values[name]
    )


def test_as_many_classes_copy_everything(trained):
  source, values = trained
  model = net()
  assert initial.FromWeights(source)(model).endswith("drawn: nothing")
  np.testing.assert_array_equal(model.layers["fc8"].weights, values["fc8/weights"])
  np.testing.assert_array_equal(model.mean_rgb, (1, 2, 3))


def test_statistics_of_norms_are_copied_too(tmp_path):
  other = net(norm="batch", seed=3)
  other.norms["conv1_1"].moving_mean.assign(np.arange(4))
  values = {name: one for name, one in tensors(other).items() if "/" in name}
  weights.write(tmp_path / "a.npz", weights.Weights(values))
  model = net(norm="batch")
  initial.FromWeights(str(tmp_path / "a.npz"))(model)
  np.testing.assert_array_equal(model.norms["conv1_1"].moving_mean, np.arange(4))


@pytest.mark.parametrize(
  ("model", "layers", "messages"),
  [
    (
      functools.partial(net, "B"),
      "all",
      ["conv1_2/weights is missing", "conv2_2/biases is missing"],
    ),
    (functools.partial(net, width=1 / 8), "all", ["conv1_1/biases has the shape (4,), not (8,)"]),
    (functools.partial(net, classes=7), ["fc*"], ["fc8/weights has the shape (1, 1, 256, 4)"]),
    (net, ["conv1_1", "conv9_*"], ["conv9_*, which the net has not; it has conv1_1, conv2_1"]),
  ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_copied(trained, model, layers, messages):
  model = model()
  before = tensors(model)
  with pytest.raises(errors.UsageError) as refused:
    initial.FromWeights(trained[0], layers)(model)
  for message in messages:
    assert message in str(refused.value)
  for name, value in tensors(model).items():
    np.testing.assert_array_equal(value, before[name])


def test_what_the_net_has_not_is_left_over(tmp_path):
  values = {name: one for name, one in tensors(net("B")).items() if "/" in name}
  weights.write(tmp_path / "b.npz", weights.Weights(values))
  with pytest.raises(errors.UsageError, match="conv1_2/weights is not in the net"):
    initial.FromWeights(str(tmp_path / "b.npz"))(net("A"))


@pytest.mark.parametrize("norm", [None, "batch", "group"])
def test_a_net_of_boxes_takes_all_of_its_classifier_but_the_last_layer(tmp_path, norm):
  values = {name: one + 1 for name, one in tensors(net(norm=norm)).items() if "/" in name}
  weights.write(tmp_path / "a.npz", weights.Weights(values))
  try:
    configurations.parse("vgg16", "with/boxes")
    layers = gin.query_parameter("initial.FromWeights.layers")
  finally:
    gin.clear_config()
  model = net(norm=norm, head="class_boxes")
  report = initial.FromWeights(str(tmp_path / "a.npz"), layers)(model)
  assert report.endswith("drawn: fc8_box")
  for name, value in tensors(model).items():
    if name[:3] not in ("fc8", "mea"):
      np.testing.assert_array_equal(value, values[name])


def test_a_name_instead_of_a_list_is_refused():
  with pytest.raises(errors.UsageError, match="expected 'all' or a list"):
    initial.FromWeights("a.npz", "fc8")


@pytest.mark.parametrize("config", ["D", pytest.param("B", marks=pytest.mark.slow)])
def test_a_trained_net_stages_a_deeper_one_and_is_tuned_to_other_classes(tmp_path, config):
  data = samples.digits_like(tmp_path / "data")
  drawn = {"initializer": initializers.He(), "input_size": 32, "width": 1 / 16}
  runs.run(tmp_path / "a", data, model=functools.partial(vgg.VGG, config="A", **drawn))
  first = runs.saved(tmp_path / "a", runs.STEPS)

  staged = initial.FromWeights(str(tmp_path / "a"), STAGED)
  deeper = functools.partial(vgg.VGG, config=config, **drawn)
  runs.run(tmp_path / "deep", data, model=deeper, initial=staged, steps=0)
  report = (tmp_path / "deep" / "initial.txt").read_text()
  assert f"copied from {tmp_path}/a: conv1_1" in report
  assert "drawn: conv1_2" in report
  second = runs.saved(tmp_path / "deep", 0)
  assert _layer(second, "conv3_2") == _layer(first, "conv3_2")
  assert len(_layer(second, "fc8")) == 2

  # The run of four classes goes on with all but the last, which is drawn for another number.
  other = samples.digits_like(tmp_path / "other", classes=3)
  tuned = {
    "model": deeper,
    "initial": initial.FromWeights(str(tmp_path / "deep")),
    "optimizer": functools.partial(
      groups.ByName, optimizer=sgd.SGD, multipliers={"conv[123]_*": 0.0, "fc8": 10.0}
    ),
  }
  runs.run(tmp_path / "tuned", other, **tuned)
  assert (tmp_path / "tuned" / "initial.txt").read_text().endswith("drawn: fc8\n")
  third = runs.saved(tmp_path / "tuned", runs.STEPS)
  for layer in ("conv1_1", "conv1_2", "conv2_1", "conv3_2"):
    assert _layer(third, layer) == _layer(second, layer), layer
  for layer in ("conv4_1", "conv5_2", "fc6", "fc7"):
    assert _layer(third, layer) != _layer(second, layer), layer


def _layer(checkpoint: dict[str, bytes], layer: str) -> dict[str, bytes]:
  """Returns the bits of a layer's weights and biases in the model."""
  return {
    name: bits
    for name, bits in checkpoint.items()
    if name.startswith("model/") and f"/{layer}/" in name and "OPTIMIZER_SLOT" not in name
  }


def test_the_recipe_for_one_s_own_photos_trains(tmp_path):
  data = samples.digits_like(tmp_path / "data")
  source = functools.partial(vgg.VGG, config="D", input_size=32, width=1 / 16)
  runs.run(tmp_path / "source", data, model=source, steps=0)
  photos = samples.digits_like(tmp_path / "photos", classes=3)
  gin.clear_config()
  try:
    config.parse(
      ["gin/finetune.gin", "gin/with/pixels_32.gin"],
      [
        f"SOURCE = '{tmp_path}/source'",
        "vgg.VGG.width = 0.0625",
        "TrainingFeed.batch_size = 8",
        "train.run.steps = 2",
      ],
    )
    config.configured(train.run)(
      workdir=str(tmp_path / "run"), data_dir=photos, configuration=config
    )
  finally:
    gin.clear_config()
  first, last = runs.saved(tmp_path / "source", 0), runs.saved(tmp_path / "run", 2)
  assert _layer(last, "conv3_3") == _layer(first, "conv3_3")
  assert _layer(last, "conv4_1") != _layer(first, "conv4_1")
  assert (tmp_path / "run" / "initial.txt").read_text().endswith("drawn: fc8\n")
