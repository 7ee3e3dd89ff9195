"""The manifest: sums, order, and nothing that depends on where or when."""

import json

import pytest

from data_tools import publication
from data_tools.conversion import Note, ShardResult
from data_tools.options import Options
from data_tools.statistics import Moments
from vggtf import errors, manifest

OPTIONS = Options(scales=(32, 40), shards=(("train", 2), ("validation", 1)))
CLASSES = (("n01", "tench"), ("n02", "gold fish"))


def result(split, index, counts, rejected=(), moments=None):
  number = sum(images for _, images in counts)
  files = tuple(
    manifest.Shard(f"scale_{s}/{split}-{index}", number, 10, "00") for s in OPTIONS.scales
  )
  moments = moments or Moments()
  return ShardResult(split, index, files, counts, moments, rejected, ())


RESULTS = [
  result("validation", 0, ((0, 3),)),
  result("train", 1, ((0, 1), (1, 5)), (Note("z", "z", "empty", "0 bytes"),)),
  result(
    "train",
    0,
    ((1, 2),),
    (Note("b", "b", "empty", ""), Note("a", "a", "truncated", "")),
    Moments(2, (2, 4, 6), (2, 4, 6, 8, 12, 18)),
  ),
]


def test_files_say_what_the_shards_came_to(tmp_path):
  publication.publish(str(tmp_path), RESULTS, CLASSES, OPTIONS, {"name": "x"})
  content = manifest.from_json((tmp_path / "manifest.json").read_text(), "x")
  assert content.splits == {"train": 8, "validation": 3}
  assert content.class_counts == {"train": (1, 7), "validation": (3, 0)}
  assert content.rejected == {"empty": 2, "truncated": 1}
  assert content.labels == CLASSES
  assert [s.path for s in content.shards["scale_40/train"]] == [
    "scale_40/train-0",
    "scale_40/train-1",
  ]
  assert content.statistics.mean_rgb == (1, 2, 3)
  assert content.options["source"] == {"name": "x"}
  assert content.options["pixels"]["subsampling"] == "4:4:4"
  assert (tmp_path / "labels.txt").read_text() == "tench\ngold fish\n"
  rejected = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
  assert [note["id"] for note in rejected] == ["a", "b", "z"]
  assert rejected[0] == {"id": "a", "source": "a", "reason": "truncated", "detail": ""}


def test_order_of_results_does_not_matter(tmp_path):
  texts = []
  for name, results in (("a", RESULTS), ("b", RESULTS[::-1])):
    (tmp_path / name).mkdir()
    publication.publish(str(tmp_path / name), results, CLASSES, OPTIONS, {})
    texts.append([path.read_text() for path in sorted((tmp_path / name).iterdir())])
  assert texts[0] == texts[1]


@pytest.mark.parametrize("results", [RESULTS[1:], RESULTS[:2], [*RESULTS, RESULTS[0]]])
def test_lost_and_doubled_shards_are_noticed(tmp_path, results):
  with pytest.raises(errors.IntegrityError, match=r"expected each of 0\.\."):
    publication.publish(str(tmp_path), results, CLASSES, OPTIONS, {})
  assert not (tmp_path / "manifest.json").exists()


def test_damaged_notes_are_named(tmp_path):
  (tmp_path / "rejected.jsonl").write_text('{"id": 1}\n{"id"')
  with pytest.raises(errors.IntegrityError, match=r"rejected\.jsonl is missing or damaged"):
    publication.read_notes(str(tmp_path), "rejected.jsonl")
  with pytest.raises(errors.IntegrityError, match=r"labels\.txt is missing"):
    publication.read_labels(str(tmp_path))
