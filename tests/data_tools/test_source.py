"""Sources are found by name, ours and others'."""

import pickle

import pytest

from data_tools import source
from data_tools.sources import folder
from vggtf import errors


def test_own_source_is_found():
  assert source.find_module("folder") is folder


def test_foreign_source_is_found(tmp_path, monkeypatch):
  (tmp_path / "their").mkdir()
  (tmp_path / "their" / "pictures.py").write_text("add_flags = open_source = print\n")
  (tmp_path / "their" / "broken.py").write_text("import not_installed_at_all\n")
  monkeypatch.syspath_prepend(tmp_path)
  assert source.find_module("their.pictures").open_source is print
  with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
    source.find_module("their.broken")


@pytest.mark.parametrize(
  "name", ["fodler", "", ".folder", "../folder.py", "no.such.module", "data_tools.nothing"]
)
def test_unknown_source_lists_the_known(name):
  with pytest.raises(errors.UsageError, match=r"expected one of: .*folder"):
    source.find_module(name)


def test_module_that_is_no_source_is_refused():
  with pytest.raises(errors.UsageError, match=r"needs add_flags\(parser\)"):
    source.find_module("os.path")


def test_items_travel_whole_and_light():
  plain = source.Item("id", "train", 3, "from here", ("tar", 1, 2))
  full = source.Item("id", "train", 3, "from", (), ("empty", "why"), None, (1, 2), (4,))
  left_out = source.Item("id", "train", 3, "from", (), left_out=("not_drawn", "31st"))
  for item in (plain, full, left_out):
    assert pickle.loads(pickle.dumps(item)) == item
  assert len(pickle.dumps(plain)) < 100
