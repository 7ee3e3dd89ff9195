"""The manifest: sums, order, and nothing that depends on where or when."""

import dataclasses
import hashlib
import json

import pytest

from data_tools import publication
from data_tools.inputs import InputSum
from data_tools.job import Job
from data_tools.options import Options
from data_tools.parts import Note, ShardResult
from data_tools.statistics import Moments
from vggtf import errors, manifest


class Source:
  def describe(self):
    return {"name": "x"}


OPTIONS = Options(
  scales=(32, 40), shards=(("train", 2), ("validation", 1)), max_reject_fraction=0.5
)
CLASSES = (("n01", "tench"), ("n02", "gold fish"))


def result(split, index, counts, notes=(), moments=None, contents=()):
  number = sum(images for _, images in counts)
  files = tuple(
    manifest.Shard(f"scale_{s}/{split}-{index}", number, 10, "00") for s in OPTIONS.scales
  )
  return ShardResult(
    split=split,
    index=index,
    files=files,
    class_counts=counts,
    moments=moments or Moments(),
    notes=notes,
    inputs=InputSum(number + len(notes), 100 * number, (1 << 256) - 1 if index else 3),
    contents="".join(hashlib.sha256(text.encode()).hexdigest()[:16] for text in contents),
    boxed=index,
    boxes=2 * index,
  )


def note(id_, kind, what, split="train"):
  return Note(id_, split, f"from {id_}", kind, what, "")


RESULTS = [
  result("validation", 0, ((0, 3),), contents=("p", "v", "w")),
  result("train", 1, ((0, 1), (1, 5)), (note("z", "image", "empty"),), contents=("p", "q")),
  result(
    "train",
    0,
    ((1, 2),),
    (note("b", "image", "empty"), note("a", "image", "truncated"), note("c", "left_out", "rest")),
    Moments(2, (2, 4, 6), (2, 4, 6, 8, 12, 18)),
    ("q", "r"),
  ),
]


def job(folder):
  return Job(Source(), CLASSES, OPTIONS, str(folder))


def test_files_say_what_the_shards_came_to(tmp_path):
  publication.publish(RESULTS, job(tmp_path))
  content = manifest.from_json((tmp_path / "manifest.json").read_text(), "x")
  assert content.splits == {"train": 8, "validation": 3}
  assert content.class_counts == {"train": (1, 7), "validation": (3, 0)}
  assert content.rejected == {"empty": 2, "truncated": 1}
  assert content.left_out == {"rest": 1}
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
  assert [note["id"] for note in rejected] == ["a", "b", "c", "z"]
  assert rejected[0] == {
    "id": "a",
    "source": "from a",
    "split": "train",
    "kind": "image",
    "reason": "truncated",
    "detail": "",
  }


def test_inputs_are_summed_and_equal_bytes_counted(tmp_path):
  publication.publish(RESULTS, job(tmp_path))
  content = manifest.from_json((tmp_path / "manifest.json").read_text(), "x")
  assert content.inputs == {
    # q is in both shards of train, p in train and validation; a digest's sum wraps at 2^256
    "train": manifest.Inputs(12, 800, f"{2:064x}", 1, 1, 2),
    "validation": manifest.Inputs(3, 300, f"{3:064x}", 1, 0, 0),
  }


def test_too_many_rejects_leave_no_manifest(tmp_path):
  strict = dataclasses.replace(OPTIONS, max_reject_fraction=0.2)
  with pytest.raises(errors.RejectedInputError, match=r"3 of 14 images .*2 empty, 1 truncated"):
    publication.publish(RESULTS, dataclasses.replace(job(tmp_path), options=strict))
  assert not (tmp_path / "manifest.json").exists()
  assert (tmp_path / "rejected.jsonl").exists()


def test_order_of_results_does_not_matter(tmp_path):
  texts = []
  for name, results in (("a", RESULTS), ("b", RESULTS[::-1])):
    (tmp_path / name).mkdir()
    publication.publish(results, job(tmp_path / name))
    texts.append([path.read_text() for path in sorted((tmp_path / name).glob("**/*.*"))])
  assert texts[0] == texts[1]


@pytest.mark.parametrize("results", [RESULTS[1:], RESULTS[:2], [*RESULTS, RESULTS[0]]])
def test_lost_and_doubled_shards_are_noticed(tmp_path, results):
  with pytest.raises(errors.IntegrityError, match=r"expected each of 0\.\."):
    publication.publish(results, job(tmp_path))
  assert not (tmp_path / "manifest.json").exists()


def test_damaged_notes_are_named(tmp_path):
  (tmp_path / "rejected.jsonl").write_text('{"id": 1}\n{"id"')
  with pytest.raises(errors.IntegrityError, match=r"rejected\.jsonl is missing or damaged"):
    publication.read_notes(str(tmp_path), "rejected.jsonl")
