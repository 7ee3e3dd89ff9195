"""The list of what there is, and the page that says how to add to it."""

import importlib
import importlib.metadata
import re
import sys
from pathlib import Path

import gin
import pytest
import tensorflow as tf

from tests import samples
from vggtf import config, errors
from vggtf.jobs import plugins, train
from vggtf.training import checkpoint

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


@pytest.fixture(autouse=True)
def _no_bindings_left():
  gin.clear_config()
  yield
  gin.clear_config()


class Catalogue:
  """Stands for the configuration, with plugins of its own."""

  def __init__(self, **modules: str):
    self._modules = modules

  def announced(self):
    return {
      name: importlib.metadata.EntryPoint(name, module, "vggtf.plugins")
      for name, module in self._modules.items()
    }

  def files(self):
    return config.files()


def test_everything_is_listed_with_a_line(capsys):
  plugins.run(Catalogue())
  lines = capsys.readouterr().out.splitlines()
  listed = dict(line.split(maxsplit=1) for line in lines if line.startswith("  "))
  assert listed["vgg.VGG"] == "A very deep convolutional net; a `contracts.Model`."
  assert listed["train"].startswith("--job=train: trains")
  assert listed["gin/vgg16.gin"].startswith("net D of table 1")
  assert {"softmax.Softmax", "sgd.SGD", "schedules.Plateau", "dense.Dense"} <= listed.keys()
  assert {"classification.Classification", "initial.FromWeights", "folder"} <= listed.keys()
  root = PAGE.parents[1]
  gin_files = {str(path.relative_to(root)) for path in root.glob("gin/**/*.gin")}
  assert gin_files <= listed.keys()
  jobs = {path.stem for path in root.glob("vggtf/jobs/[a-z]*.py")}
  assert jobs <= listed.keys()


def test_an_announced_plugin_that_does_not_load_is_named_beside_the_others(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.syspath_prepend(tmp_path)
  (tmp_path / "sound_nets.py").write_text('class Net:\n  """A net of mine.\n\n  Deep."""\n')
  (tmp_path / "broken_nets.py").write_text("import no_such_module\n")
  with pytest.raises(
    errors.UsageError, match=r"broken_nets .*ModuleNotFoundError: No module named"
  ):
    plugins.run(Catalogue(mine="sound_nets", theirs="broken_nets"))
  printed = capsys.readouterr().out
  assert re.search(r"mine, announced by sound_nets\n  sound_nets.Net +A net of mine.\n", printed)
  assert "broken_nets" not in printed


@pytest.fixture
def page(tmp_path, monkeypatch) -> Path:
  """Returns a folder with the files that docs/plugins.md shows; Python finds its modules."""
  for name, text in re.findall(
    r"^    (\S+)\n\n```(?:python|gin)\n(.*?)^```", PAGE.read_text(), re.M | re.S
  ):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
  monkeypatch.syspath_prepend(tmp_path)
  importlib.invalidate_caches()
  yield tmp_path
  for name in [name for name in sys.modules if name.partition(".")[0] == "my_plugins"]:
    del sys.modules[name]


def test_the_page_s_plugins_are_short_and_train(page, tmp_path):
  files = sorted(page.glob("my_plugins/*.py"))
  assert [path.stem for path in files] == ["losses", "nets", "optimizers"]
  assert all(len(path.read_text().splitlines()) < 30 for path in files)

  config.parse(
    [str(page / "my_run.gin")],
    ["train.run.steps = 2", "TrainingFeed.batch_size = 8", "train.run.evaluate_every = 2"],
    allow_imports=["my_plugins"],
  )
  data = samples.digits_like(tmp_path / "data")
  config.configured(train.run)(workdir=str(tmp_path / "run"), data_dir=data, configuration=config)
  prefix = checkpoint.Checkpoints(tmp_path / "run" / "checkpoints").prefix(2)
  shapes = dict(tf.train.list_variables(prefix))
  momenta = [name for name in shapes if name.startswith("optimizer/momenta/")]
  assert len(momenta) == 6
  assert shapes["model/layers/0/weights/.ATTRIBUTES/VARIABLE_VALUE"] == [3, 3, 3, 8]
  assert all(tf.train.load_variable(prefix, name).any() for name in momenta)


def test_without_permission_the_page_s_modules_are_not_imported(page):
  with pytest.raises(errors.UsageError, match="--gin_allow_import=my_plugins"):
    config.parse([str(page / "my_run.gin")], [])
  assert "my_plugins" not in sys.modules


def test_a_net_without_a_method_of_its_contract_is_refused(page):
  text = (page / "my_plugins" / "nets.py").read_text()
  for old, new in (("def score_map", "def scores"), ("AllConvolutions", "Narrow")):
    text = text.replace(old, new)
  (page / "my_plugins" / "narrow.py").write_text(text)
  (page / "narrow.gin").write_text(
    "from __gin__ import dynamic_registration\n"
    'include "gin/quickstart.gin"\n'
    "from my_plugins import narrow\n"
    "MODEL = @narrow.Narrow\n"
  )
  with pytest.raises(errors.UsageError) as refused:
    config.parse([str(page / "narrow.gin")], [], allow_imports=["my_plugins"])
  assert str(refused.value).startswith(
    f"{page}/narrow.gin:4: MODEL = @narrow.Narrow: it lacks score_map of a Model"
  )
