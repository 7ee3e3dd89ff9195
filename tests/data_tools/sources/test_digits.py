"""The embedded digits are the folder that data_tools.digits writes, item for item."""

import argparse
import sys
from collections import Counter

import pytest

from data_tools import convert, digits
from data_tools.sources import digits as source_module
from data_tools.sources import folder
from vggtf import errors

pytest.importorskip("sklearn.datasets")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  output = tmp_path_factory.mktemp("digits") / "out"
  assert digits.main([f"--output={output}"]) == 0
  return output


def open_source(module, *flags):
  parser = argparse.ArgumentParser()
  module.add_flags(parser)
  return module.open_source(parser.parse_args(flags))


def list_all(source):
  items = [item for root in source.roots() for item in source.list_items(root)]
  return {(i.id, i.split, i.label, i.origin): source.read(i) for i in items}


def test_items_are_those_of_the_folder(written):
  embedded = open_source(source_module)
  read = open_source(folder, f"--input={written}")
  assert list_all(embedded) == list_all(read)
  assert sorted(embedded.splits()) == sorted(read.splits())
  assert tuple(embedded.classes()) == tuple(read.classes())


def test_shards_are_those_of_the_folder(written, tmp_path, read_tree):
  flags = ("--scales=8", "--shards=train=2,validation=1")
  assert convert.main(["--source=digits", f"--output={tmp_path / 'a'}", *flags]) == 0
  assert convert.main([f"--input={written}", f"--output={tmp_path / 'b'}", *flags]) == 0
  embedded, read = (read_tree(tmp_path / name / "scale_8") for name in "ab")
  assert len(embedded) >= 3
  assert embedded == read


def test_counts():
  source = open_source(source_module)
  counts = Counter(key[1:3] for key in list_all(source))
  source.check_counts(counts)
  counts["train", 0] -= 1
  with pytest.raises(errors.EnvironmentFault, match="holds 1796 digits, expected 1797"):
    source.check_counts(counts)


def test_missing_package_names_the_extra(monkeypatch):
  source_module._load.cache_clear()
  monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
  with pytest.raises(errors.EnvironmentFault, match=r"pip install 'vggtf\[demo\]'"):
    open_source(source_module)
