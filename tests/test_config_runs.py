"""A configuration as it would be, were the command given another run."""

import gin
import pytest

from tests.conformance import configurations
from vggtf import config, errors


@pytest.fixture(autouse=True)
def _no_bindings_left():
  gin.clear_config()
  yield
  gin.clear_config()


def keep(folder, *names) -> str:
  """Writes what a run of these files has in its folder, and returns the path."""
  configurations.parse(*names)
  folder.mkdir()
  (folder / "config.gin").write_text(config.text())
  gin.clear_config()
  return str(folder / "config.gin")


@pytest.fixture
def own(tmp_path):
  return keep(tmp_path / "own", "vgg16")


@pytest.fixture
def other(tmp_path):
  keep(tmp_path / "other", "vgg19", "with/scale_384")
  return str(tmp_path / "other")


def query(name):
  return gin.query_parameter(name)


def test_another_run_has_its_own_net_under_the_same_overlays(own, other):
  config.parse(["gin/eval/combined.gin"], ["MultiScale.scales = (300, 400)"], kept=own)
  before = config.text()
  with config.within_run(other):
    assert query("vgg.VGG.config") == "E"
    assert query("dense.Dense.scale") == 384
    assert query("multi_scale.MultiScale.scales") == (300, 400)
    assert "@mean.Mean" in str(query("PREDICTOR/macro.value"))
    with pytest.raises(RuntimeError, match="locked"):
      gin.bind_parameter("vgg.VGG.config", "A")
  assert config.text() == before
  assert query("vgg.VGG.config") == "D"
  with pytest.raises(RuntimeError, match="locked"):
    gin.bind_parameter("vgg.VGG.config", "A")


def test_it_ends_with_an_error_too(own, other):
  config.parse([], [], kept=own)
  before = config.text()
  with pytest.raises(KeyError), config.within_run(other):
    raise KeyError
  assert config.text() == before
  with config.within_run(other):  # and the second time is like the first
    assert query("vgg.VGG.config") == "E"


def test_a_folder_without_a_run_is_refused(tmp_path):
  configurations.parse("vgg16")
  before = config.text()
  missing = pytest.raises(errors.UsageError, match=r"holds no run \(config\.gin is missing\)")
  with missing, config.within_run(str(tmp_path)):
    raise AssertionError
  assert config.text() == before
