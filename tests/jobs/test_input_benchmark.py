import re
import types

import pytest

from tests.jobs import runs
from tests.samples import digits_like
from vggtf import errors
from vggtf.data import costs, threads
from vggtf.jobs import input_benchmark


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return digits_like(tmp_path_factory.mktemp("data") / "set")


def test_every_part_and_the_whole_are_measured(data, capsys):
  input_benchmark.run(data, runs.MODEL, runs.FEED, images=16)
  printed = capsys.readouterr().out
  found = dict(re.findall(r"^  (\S.*?)  +([\d.,]+)", printed, re.M))
  parts = ["read", "decode", "resample", "flip, colour", "batch"]
  assert list(found)[:6] == [*parts, "the whole"]
  assert float(found["read"]) > 0
  assert "crops of 32" in printed
  assert re.search(r"steps a second +[\d.,]+ of 8 images", printed)
  a_second = float(found["images a second"].replace(",", ""))
  needed = re.search(r"less than ([\d,]+) ms waits", printed).group(1)
  assert float(needed.replace(",", "")) == pytest.approx(8e3 / a_second, rel=0.1, abs=1)


def test_the_table_is_of_differences(monkeypatch, data, capsys):
  taken = {
    "read": costs.Cost(0.001, 0.01, 0),
    "decode": costs.Cost(0.003, 0.01, 0),
    "batch": costs.Cost(0.0035, 0.002, 5 * 1024),
  }
  monkeypatch.setattr(costs, "measure", lambda feed, images: taken)
  monkeypatch.setattr(threads, "cores", lambda: 4)
  input_benchmark.run(data, runs.MODEL, runs.FEED)
  lines = capsys.readouterr().out.splitlines()
  assert lines[1].split() == ["read", "1.000"]
  assert lines[2].split() == ["decode", "2.000"]
  assert lines[3].split() == ["batch", "0.500"]
  assert lines[4].split() == ["the", "whole", "3.500"]
  assert "  images a second     500" in lines
  assert "  share of the cores  44% of 4" in lines
  assert "  steps a second      62.50 of 8 images" in lines
  assert "  from the disk       5.0 KiB an image; the rest was in memory" in lines
  assert lines[-1] == "A step that takes less than 16 ms waits for images."


def test_another_s_feed_is_refused(data):
  with pytest.raises(errors.UsageError, match="the feed is SimpleNamespace"):
    input_benchmark.run(data, runs.MODEL, lambda **_: types.SimpleNamespace())
