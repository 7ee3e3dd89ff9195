"""A gin file may import what is inside vggtf, allowed by name, or announced; nothing else."""

import importlib
import sys

import gin
import pytest

from vggtf import config, errors

START = 'from __gin__ import dynamic_registration\ninclude "gin/vgg16.gin"\n'


@pytest.fixture(autouse=True)
def _no_bindings_left():
  gin.clear_config()
  yield
  gin.clear_config()


@pytest.fixture
def outside(tmp_path, monkeypatch):
  """Returns what writes a module that stands on PYTHONPATH and leaves a trace when it is run."""
  monkeypatch.syspath_prepend(tmp_path)

  def write(name: str, text: str = "", entry_points: str = "", package: str = "") -> str:
    marker = tmp_path / f"{name}.was_run"
    (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')\n{text}")
    if entry_points:
      info = tmp_path / f"{package or name}-1.0.dist-info"
      info.mkdir()
      (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package or name}\n")
      (info / "entry_points.txt").write_text(f"[vggtf.plugins]\n{entry_points}\n")
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, name, raising=False)
    return marker

  yield write
  for path in tmp_path.glob("*.py"):
    sys.modules.pop(path.stem, None)


def parse(tmp_path, text: str, **options) -> None:
  (tmp_path / "own.gin").write_text(START + text)
  config.parse([str(tmp_path / "own.gin")], [], **options)


def test_a_module_from_outside_is_refused_and_not_run(tmp_path, outside):
  marker = outside("evil_mod")
  with pytest.raises(errors.UsageError) as refused:
    parse(tmp_path, "import evil_mod\n")
  assert "own.gin:3 imports 'evil_mod'" in str(refused.value)
  assert "--gin_allow_import=evil_mod" in str(refused.value)
  assert not marker.exists()


def test_an_included_file_s_imports_count(tmp_path, outside):
  marker = outside("evil_mod")
  (tmp_path / "inner.gin").write_text("import evil_mod.deep as harmless\n")
  with pytest.raises(errors.UsageError, match=r"inner.gin:1 imports 'evil_mod.deep'"):
    parse(tmp_path, f"include '{tmp_path}/inner.gin'\n")
  assert not marker.exists()


def test_a_name_that_only_begins_like_an_allowed_one_is_refused(tmp_path, outside):
  outside("vggtf_evil")
  with pytest.raises(errors.UsageError, match="imports 'vggtf_evil'"):
    parse(tmp_path, "import vggtf_evil\n", allow_imports=["vggtf_e"])


def test_an_allowed_module_is_imported(tmp_path, outside):
  marker = outside("my_nets", "class Net:\n  def __init__(self, depth=1): ...\n")
  with pytest.raises(errors.UsageError, match=r"nothing that a job builds would read: my_nets.Net"):
    parse(tmp_path, "import my_nets\nmy_nets.Net.depth = 3\n", allow_imports=["my_nets"])
  assert marker.exists()


def test_a_module_that_a_package_announces_is_imported(tmp_path, outside):
  marker = outside("my_nets", entry_points="nets = my_nets")
  assert config.announced()["nets"].value == "my_nets"
  parse(tmp_path, "import my_nets\n")
  assert marker.exists()


def test_a_name_announced_twice_names_both_packages(tmp_path, outside):
  outside("my_nets", entry_points="nets = my_nets")
  outside("your_nets", entry_points="nets = your_nets")
  with pytest.raises(errors.UsageError, match=r"'nets' is announced twice, by (my|your)_nets and"):
    parse(tmp_path, "")


def test_a_module_that_fails_is_named_with_its_reason(tmp_path, outside):
  outside("my_nets", "1 / 0")
  with pytest.raises(errors.UsageError, match=r"own.gin:3: my_nets .* ZeroDivisionError: division"):
    parse(tmp_path, "import my_nets\n", allow_imports=["my_nets"])


@pytest.mark.parametrize(
  "text",
  [
    "train.run.steps = @train.os.getcwd()\n",
    "train.os.makedirs.name = 'x'\ntrain.run.steps = @train.os.makedirs()\n",
    "train.run.steps = {1: [@train.os.getcwd()]}\n",
  ],
)
def test_what_an_allowed_module_imports_is_not_reached_through_it(tmp_path, text):
  with pytest.raises(errors.UsageError, match=r"train.os.* belongs to .*, outside of vggtf"):
    parse(tmp_path, "from vggtf.jobs import train\n" + text)
