"""The pipeline: nothing is read before the listing was found right, and every shard comes once."""

import dataclasses

import pytest

from data_tools import pipeline, runner
from data_tools.job import Job
from data_tools.options import Options
from data_tools.source import Annotation, Item
from vggtf import errors, manifest


@dataclasses.dataclass(frozen=True)
class Listed:
  """A source of the given images; `wrong` is what it says of their counts."""

  data: tuple[tuple[str, bytes], ...]
  log: str
  wrong: str = ""

  def roots(self):
    return ["images", "annotations"]

  def list_items(self, root):
    for id_, _ in self.data:
      if root == "images":
        yield Item(id_, "train", 0, id_, ())
      else:
        yield Annotation(id_, "train", f"{id_}.xml")
    if root == "images":
      yield Item("refused", "train", 1, "refused", (), refused=("no_class", ""))
      yield Item("left", "train", 1, "left", (), left_out=("not_drawn", ""))

  def check_counts(self, counts):
    with open(self.log, "a") as log:
      log.write(f"{counts}\n")
    if self.wrong:
      raise errors.RejectedInputError(self.wrong)

  def read(self, item):
    with open(self.log, "a") as log:
      log.write("read\n")
    return dict(self.data)[item.id]

  def describe(self):
    return {}


@pytest.fixture
def run(tmp_path, paint, save):
  def run(shards=3, **changes):
    data = tuple((str(at), save(paint(at, 30, 40))) for at in range(8))
    source = Listed(data, str(tmp_path / "log"), **changes)
    options = Options(scales=(24,), shards=(("train", shards),), max_reject_fraction=0.5)
    job = Job(source, (("a", "a"), ("b", "b")), options, str(tmp_path / "out"))
    runner.run(runner.parse_options([], []), lambda beam: pipeline.build(beam, job))
    return tmp_path

  return run


def test_counts_are_checked_before_anything_is_read(run):
  log = (run() / "log").read_text().splitlines()
  # Not the refused one, which has no place; not the one that the protocol leaves out.
  assert log[0] == "{('train', 0): 8}"
  assert log[1:] == ["read"] * 8


def test_wrong_counts_stop_everything(run, tmp_path):
  with pytest.raises(errors.RejectedInputError, match=r"^8 of 9 images$"):
    run(wrong="8 of 9 images")
  assert "read" not in (tmp_path / "log").read_text()
  assert not list(tmp_path.rglob("train-*"))


def test_wrong_counts_are_told_before_too_many_shards(run):
  with pytest.raises(errors.RejectedInputError, match=r"^8 of 9 images$"):
    run(wrong="8 of 9 images", shards=50)


def test_manifest_accounts_for_every_item(run, tmp_path):
  run()
  content = manifest.from_json((tmp_path / "out" / manifest.NAME).read_text(), "x")
  assert content.splits == {"train": 8}
  assert content.inputs["train"].images == 10
  assert (content.rejected, content.left_out) == ({"no_class": 1}, {"not_drawn": 1})
