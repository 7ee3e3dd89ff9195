import gin
import pytest

from tests.conformance import configurations
from vggtf import config, errors
from vggtf.jobs import train


@pytest.fixture(autouse=True)
def _no_bindings_left():
  yield
  gin.clear_config()


@pytest.mark.parametrize(
  ("param", "message"),
  [
    ("vgg.VGG.widht = 0.5", "Did you mean width?"),
    ("vgg.VGGG.width = 0.5", "Did you mean vgg.VGG?"),
    ("MODLE = 3", "nothing that a job builds would read: MODLE. Did you mean MODEL?"),
    ("Plateau.initial", "is not a binding"),
    ("train.steps=3", "No configurable matching 'train'. Did you mean train.run?"),
    ("import os\nvgg.VGG.width = 1", "is not a binding"),
    ("MODEL = @vgg.VGX", "No configurable matching"),
    ("VGG.classes = 10", "comes from the data's manifest"),
    ("vgg.VGG.width = 2 * 3", "vgg.VGG.width"),
    ("validaton/centre.Centre.scale = 300", "validaton/vggtf.predictors.centre.Centre.scale"),
  ],
)
def test_a_mistaken_binding_is_refused_before_anything_is_built(param, message):
  with pytest.raises(errors.UsageError) as refused:
    configurations.parse("vgg16", params=(param,))
  assert message in str(refused.value)


def test_a_binding_of_what_is_not_used_is_refused(tmp_path):
  file = tmp_path / "own.gin"
  file.write_text(
    "from __gin__ import dynamic_registration\n"
    'include "gin/vgg16.gin"\n'
    "from vggtf.optimizers import schedules\n"
    "schedules.Steps.boundaries = (1, 2)\n"
  )
  with pytest.raises(errors.UsageError, match=r"would read: vggtf.optimizers.schedules.Steps"):
    config.parse([str(file)], [])


def test_what_an_overlay_puts_out_of_use_is_no_mistake():
  configurations.parse("vgg16", "eval/centre")
  assert "Dense.scale" in config.text()


def test_each_binding_has_the_place_that_won(tmp_path):
  """P11: a run's description says where its configuration comes from."""
  file = tmp_path / "own.gin"
  file.write_text(
    "from __gin__ import dynamic_registration\n"
    'include "gin/vgg16.gin"\n'
    "from vggtf.jobs import train\n"
    "train.run.steps = 7\n"
    "train.run.log_every = 3\n"
  )
  config.parse([str(file)], ["train.run.steps = 8"])
  origins = config.origins()
  assert origins["train.run.steps"] == "--gin_param='train.run.steps = 8'"
  assert origins["train.run.log_every"] == f"{file}:5"
  assert origins["MODEL"].partition(":")[0].endswith("gin/vgg16.gin")


def test_a_scope_reaches_what_is_called_within_it():
  configurations.parse("vgg16", params=("validation/centre.Centre.scale = 300",))


def test_later_files_and_then_bindings_win():
  configurations.parse("vgg16", "with/scale_384", params=("TrainView.scale_max = 400",))
  assert gin.query_parameter("train_view.TrainView.scale_min") == 384
  assert gin.query_parameter("train_view.TrainView.scale_max") == 400


def test_a_missing_file_names_where_it_was_looked_for():
  with pytest.raises(
    errors.UsageError, match=r"no file gin/vgg61.gin; looked in \., .*gin_search_paths"
  ):
    config.parse(["gin/vgg61.gin"], [])


def test_a_missing_file_is_looked_for_in_the_given_folders(tmp_path):
  (tmp_path / "own").mkdir()
  (tmp_path / "own" / "small.gin").write_text('include "gin/vgg16.gin"\n')
  with pytest.raises(errors.UsageError, match=r"no file own/small\.gin"):
    config.parse(["own/small.gin"], [])
  config.parse(["own/small.gin"], [], search_paths=[str(tmp_path)])
  assert "VGG.config = 'D'" in config.text()


def test_an_included_file_that_is_missing_names_who_includes_it(tmp_path):
  file = tmp_path / "own.gin"
  file.write_text('include "gin/vgg61.gin"\n')
  with pytest.raises(errors.UsageError, match=r"no file gin/vgg61.gin, which .*own.gin includes"):
    config.parse([str(file)], [])


def test_a_required_macro_that_nobody_binds_is_named():
  with pytest.raises(errors.UsageError, match="MODEL"):
    config.parse(["gin/base/jobs.gin"], [])


def test_files_are_found_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  configurations.parse("vgg19")
  assert "VGG.config = 'E'" in config.text()


def test_unbound_names_what_a_job_still_needs():
  gin.clear_config()
  assert config.unbound(train.run, ["workdir", "data_dir", "configuration"])[:2] == [
    "model",
    "loss",
  ]
  configurations.parse("vgg16")
  assert config.unbound(train.run, ["workdir", "data_dir", "configuration"]) == []


def test_paper_recipe_is_what_vgg16_binds():
  configurations.parse("vgg16")
  for name, value in (
    ("pipeline.TrainingFeed.batch_size", 256),
    ("sgd.SGD.momentum", 0.9),
    ("weight_decay.L2.decay", 5e-4),
    ("vgg.VGG.dropout", 0.5),
    ("schedules.Plateau.initial", 1e-2),
    ("schedules.Plateau.drops", 3),
    ("train.run.steps", 370_000),
  ):
    assert gin.query_parameter(name) == value


def test_a_file_may_put_what_it_includes_out_of_use(tmp_path):
  file = tmp_path / "own.gin"
  file.write_text(
    "from __gin__ import dynamic_registration\n"
    'include "gin/vgg16.gin"\n'
    "from vggtf.optimizers import schedules\n"
    "SCHEDULE = @schedules.Steps\n"
    "schedules.Steps.boundaries = (1, 2)\n"
  )
  config.parse([str(file)], [])
  assert "Plateau" in config.text()


def test_a_binding_may_name_what_the_files_import_and_the_job():
  gin.clear_config()
  config.parse(
    ["gin/quickstart.gin"],
    ["predict.run.predictor = 'dense'", "VALIDATOR = @dense.Dense"],
    ["vggtf.jobs.predict"],
  )
  assert gin.query_parameter("predict.run.predictor") == "dense"


def test_what_a_run_kept_may_hold_what_its_overlay_put_out_of_use(tmp_path):
  configurations.parse("vgg16", "eval/centre")
  kept = tmp_path / "config.gin"
  kept.write_text(config.text())
  gin.clear_config()
  config.parse([], [], kept=str(kept))
  gin.clear_config()
  config.parse(["gin/eval/dense.gin"], ["dense.Dense.scale = 300"], kept=str(kept))
  assert gin.query_parameter("dense.Dense.scale") == 300
  gin.clear_config()
  with pytest.raises(errors.UsageError, match="would read: MODLE"):
    config.parse([], ["MODLE = 1"], kept=str(kept))
