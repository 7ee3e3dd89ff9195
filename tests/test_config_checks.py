"""Values and parts that cannot work are refused before anything is built, all at once."""

from collections.abc import Sequence
from typing import Any

import gin
import pytest

from tests.conformance import configurations
from vggtf import config, config_types, errors

START = (
  'from __gin__ import dynamic_registration\ninclude "gin/vgg16.gin"\n'
  "from vggtf.jobs import train\nfrom vggtf.models import vgg\nfrom vggtf.losses import softmax\n"
  "from vggtf.optimizers import schedules\nfrom vggtf.optimizers import sgd\n"
  "from vggtf.nn import initializers\n"
)


@pytest.fixture(autouse=True)
def _no_bindings_left():
  gin.clear_config()
  yield
  gin.clear_config()


def refused(tmp_path, text: str) -> list[str]:
  """Returns the complaints about a file whose line 9 is the text's first."""
  file = tmp_path / "own.gin"
  file.write_text(START + text)
  with pytest.raises(errors.UsageError) as error:
    config.parse([str(file)], [])
  return str(error.value).replace(f"{tmp_path}/", "").split("; ")


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("schedules.Plateau.initial = 'fast'", "schedules.Plateau.initial = 'fast': expected float"),
    ("train.run.steps = 1.5", "train.run.steps = 1.5: expected int"),
    ("train.run.seed = True", "train.run.seed = True: expected int"),
    ("vgg.VGG.config = 16", "vgg.VGG.config = 16: expected str"),
    ("SEED = 'x'\nvgg.VGG.seed = %SEED", "SEED = 'x': expected int"),
    ("SCHEDULE = @schedules.Plateau()", "a constructor is expected: write it without ()"),
    (
      "from vggtf.predictors import multi_scale\nPREDICTOR = @multi_scale.MultiScale\n"
      "multi_scale.MultiScale.scales = '256'",
      "multi_scale.MultiScale.scales = '256': expected",
    ),
    ("vgg.VGG.initializer = 'He'", "vgg.VGG.initializer = 'He': expected"),
    ("vgg.VGG.initializer = @initializers.He", "He is a class, an object of it is expected"),
    (
      "from vggtf.weights import initial\ntrain.run.initial = @initial.FromWeights",
      "FromWeights is a class, an object of it is expected: write it with ()",
    ),
    (
      "from vggtf.data import pipeline\nfrom vggtf.data import train_view\n"
      "pipeline.TrainingFeed.view = @train_view.TrainView()",
      "a constructor is expected: write it without ()",
    ),
    ("SCHEDULE = 1e-2", "SCHEDULE = 0.01: expected a reference to a Schedule"),
    ("OPTIMIZER = @softmax.Softmax", "it lacks build, apply of a Optimizer"),
    ("MODEL = @sgd.SGD", "it lacks __call__, score_map of a Model"),
    (
      "from vggtf.predictors import mean\nPREDICTOR = @mean.Mean\n"
      "mean.Mean.predictors = (@mean.Mean, @sgd.SGD)",
      "it lacks prepare, __call__, describe of a Predictor",
    ),
  ],
)
def test_what_does_not_fit_is_named(tmp_path, text, message):
  (complaint,) = [c for c in refused(tmp_path, text) if "would read" not in c]
  assert complaint.startswith("own.gin:9: " if "\n" not in text else "own.gin:")
  assert message in complaint


def test_each_item_of_a_sequence_counts(tmp_path):
  text = "SCHEDULE = @schedules.Steps\nschedules.Steps.boundaries = (1, 2, 3, 'x', 5, 6, 7, 8)"
  assert any("Sequence[int]" in complaint for complaint in refused(tmp_path, text))


def test_all_is_told_at_once(tmp_path):
  complaints = refused(
    tmp_path, "train.run.steps = 'many'\nvgg.VGG.width = 'x'\nvgg.VGG.classes = 3\nMODLE = 3"
  )
  assert [c.partition(": ")[0] for c in complaints] == [f"own.gin:{i}" for i in (11, 9, 10, 12)]


@pytest.mark.parametrize(
  "text",
  [
    "schedules.Plateau.initial = 1",  # a whole number is a rate, too
    "SCHEDULE = @schedules.Steps\nschedules.Steps.boundaries = [1, 2]",
    "vgg.VGG.initializer = @initializers.He()",
    "vgg.VGG.norm = None",
    "from vggtf.training import step\nstep.TrainStep.jit_compile = 'auto'",
    "RATE = 0.5\nvgg.VGG.dropout = %RATE",
    "SCHEDULE = @slow/schedules.Plateau\nslow/schedules.Plateau.initial = 0.1",
  ],
)
def test_what_fits_passes(tmp_path, text):
  file = tmp_path / "own.gin"
  file.write_text(START + text)
  config.parse([str(file)], [])


def test_what_is_required_is_named_with_its_line():
  with pytest.raises(errors.UsageError) as error:
    config.parse(["gin/base/jobs.gin"], [])
  model, schedule = str(error.value).split("; ")
  assert model.startswith("gin/base/jobs.gin:")
  assert model.endswith(": MODEL is required: bind it")
  assert "SCHEDULE" in schedule


def test_an_unknown_macro_is_named(tmp_path):
  assert refused(tmp_path, "vgg.VGG.width = %MODLE") == [
    "own.gin:9: %MODLE is bound nowhere. Did you mean MODEL?"
  ]


def test_macros_in_a_circle_are_refused(tmp_path):
  (complaint,) = refused(tmp_path, "A = %B\nB = %A\nvgg.VGG.width = %A")
  assert "in a circle" in complaint


def test_nothing_changes_after_the_start():
  configurations.parse("vgg16")
  with pytest.raises(RuntimeError, match="locked"):
    gin.bind_parameter("train.run.steps", 1)
  with pytest.raises(RuntimeError, match="locked"):
    gin.parse_config("train.run.steps = 1")


@pytest.mark.parametrize(
  ("hint", "fits"),
  [
    (str | None, True),
    (Any, True),  # that of a parameter without an annotation
    (object, True),
    (Sequence[str] | str, True),
    (3, True),  # no type that can be checked
    (Sequence[str], False),
    (tuple[str, ...] | None, False),
    (float | int, False),
  ],
)
def test_a_text_is_no_row_of_letters(hint, fits):
  assert config_types._fits("letters", hint) is fits
