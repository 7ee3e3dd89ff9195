"""What gin files say is known before any of it is done."""

import pathlib

import gin
import pytest

from vggtf import config, errors

START = 'from __gin__ import dynamic_registration\ninclude "gin/vgg16.gin"\n'


@pytest.fixture(autouse=True)
def _no_bindings_left():
  gin.clear_config()
  yield
  gin.clear_config()


def refused(tmp_path, text: str, **options) -> str:
  """Returns what is said of a file of this text, its path cut to `own.gin`."""
  file = tmp_path / "own.gin"
  file.write_text(START + text)
  with pytest.raises(errors.UsageError) as error:
    config.parse([str(file)], [], **options)
  return str(error.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("\nfrom vggtf.models import vgg\nvgg.VGG.widht = 2", "own.gin:5: Configurable"),
    ("from vggtf.models import vgg\nvgg.VGG.widht = 2", "Did you mean width?"),
    ("from vggtf.models import vgg\nvgg.VGGG.width = 2", "own.gin:4: vgg.VGGG: vggtf.models.vgg"),
    ("from vggtf.models import vgg\nMODEL = @vgg.VGGG", "Did you mean VGG?"),
    ("VGG.width = 2", "own.gin:3: 'VGG' was not provided by an import statement"),
    ("MODEL = 2 * 3", "own.gin:3: Expected newline. 'MODEL = 2 * 3'"),
    ("MODEL =", "own.gin:3: Unable to parse value."),
    ("MODEL = (1,", "own.gin:4: EOF in multi-line statement"),
    ("include 'gin/vgg61.gin'", "there is no file gin/vgg61.gin, which own.gin includes"),
    ("from vggtf.models import vgg61", "own.gin:3: vggtf.models.vgg61 cannot be imported"),
  ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, text, message):
  assert message in refused(tmp_path, text)


def test_a_second_binding_in_one_file_is_refused(tmp_path):
  text = "from vggtf.models import vgg\nvgg.VGG.width = 2\nSEED = 1\nvgg.VGG.width = 3\n"
  assert refused(tmp_path, text) == (
    "own.gin:6: vgg.VGG.width is bound already in line 4; remove one"
  )


def test_a_second_binding_by_another_name_in_a_block_is_refused(tmp_path):
  text = "from vggtf.models import vgg\nimport vggtf.models.vgg as nets\n"
  text += "vgg.VGG.width = 2\nnets.VGG:\n  seed = 1\n  width = 3\n"
  # Under an alias gin itself would not see that they are one.
  assert "vgg.VGG" in refused(tmp_path, text + "vgg.VGG.width = 4\n")


def test_scopes_and_macros_are_bindings_of_their_own(tmp_path):
  file = tmp_path / "own.gin"
  file.write_text(
    START + "from vggtf.predictors import centre\n"
    "centre.Centre.scale = 300\nvalidation/centre.Centre.scale = 256\nVALIDATOR = @centre.Centre\n"
  )
  config.parse([str(file)], [])


def test_an_override_across_files_and_bindings_is_logged_with_both_places(tmp_path, caplog):
  own = tmp_path / "own.gin"
  own.write_text(
    "from __gin__ import dynamic_registration\nfrom vggtf.jobs import train\n"
    "train.run.steps = 7\ntrain.run.seed = 1\n"
  )
  with caplog.at_level("INFO", logger="vggtf"):
    config.parse(["gin/vgg16.gin", str(own)], ["train.run.seed = 2"])
  assert sorted(record.getMessage() for record in caplog.records) == [
    f"train.run.seed of --gin_param='train.run.seed = 2' overrides {own}:4",
    f"train.run.steps of {own}:3 overrides {_place('gin/base/imagenet.gin', 'train.run.steps')}",
  ]


def _place(path: str, text: str) -> str:
  lines = pathlib.Path(path).read_text().splitlines()
  return f"{path}:{next(i for i, line in enumerate(lines, 1) if line.startswith(text))}"


def test_a_file_that_includes_itself_is_refused(tmp_path):
  message = refused(tmp_path, f"include '{tmp_path}/own.gin'")
  assert message == "own.gin includes own.gin, which it is included by"
