"""A small ImageNet through the command that the real one would go through."""

import json
import re

import pytest

from data_tools import convert
from tests.data_tools import synthetic_ilsvrc
from vggtf import errors

FLAGS = (
  "--partial",
  "--scales=32,40",
  "--shards=train=3,validation=2",
  "--max_reject_fraction=0.1",
)


def run(folder, output, *flags) -> int:
  given = ["--source=imagenet", f"--input={folder}", f"--output={output}", *FLAGS, *flags]
  return errors.run_command(lambda: convert.main(given))


@pytest.fixture(scope="module")
def content():
  return synthetic_ilsvrc.make()


@pytest.fixture(scope="module")
def sets(tmp_path_factory, content):
  """Returns the data set made of each layout."""
  made = {}
  for name, lay_out in synthetic_ilsvrc.LAYOUTS.items():
    folder = tmp_path_factory.mktemp("ilsvrc")
    synthetic_ilsvrc.write(folder / "in", lay_out(content))
    made[name] = folder / "out"
    assert run(folder / "in", made[name]) == 0
  return made


def read_notes(output, name) -> list[dict]:
  return [json.loads(line) for line in (output / name).read_text().splitlines()]


def test_every_layout_gives_the_same_shards(sets, read_tree):
  trees = {}
  for name, output in sets.items():
    files = read_tree(output)
    trees[name] = {path: data for path, data in files.items() if path.startswith("scale_")}
    trees[name]["labels.txt"] = files["labels.txt"]
  assert len([path for path in trees["archives"] if "-of-" in path]) == 2 * (3 + 2)
  for tree in trees.values():
    assert tree == trees["archives"]


def test_every_input_is_in_one_place(sets, content, read_records):
  expected = {f"validation/{name}" for name in content.validation}
  expected |= {f"train/{key}/{name}" for key in content.train for name in content.train[key]}
  for output in sets.values():
    stored = [
      record.id for split in ("train", "validation") for record in read_records(output, 32, split)
    ]
    notes = read_notes(output, "rejected.jsonl")
    images = {note["id"]: note["reason"] for note in notes if note["kind"] == "image"}
    boxes = {note["id"]: note["reason"] for note in notes if note["kind"] == "boxes"}
    assert images == synthetic_ilsvrc.REJECTED
    assert boxes == synthetic_ilsvrc.REFUSED_BOXES
    assert sorted([*stored, *images]) == sorted(expected)


def test_records_carry_classes_repairs_and_boxes(sets, content, read_records):
  output = sets["archives"]
  records = {
    record.id: record
    for split in ("train", "validation")
    for record in read_records(output, 40, split)
  }
  for number in range(1, synthetic_ilsvrc.VALIDATION + 1):
    id_ = f"validation/{synthetic_ilsvrc.name_validation(number)}"
    if id_ not in synthetic_ilsvrc.REJECTED:
      assert records[id_].synset == synthetic_ilsvrc.synset_of(number)
      assert records[id_].text == synthetic_ilsvrc.WORDS[records[id_].synset]
  for id_, repair in synthetic_ilsvrc.REPAIRED.items():
    assert records[id_].repairs == (repair,)
  assert len(records[synthetic_ilsvrc.READABLE_NAME].boxes) == 2
  for id_ in synthetic_ilsvrc.REFUSED_BOXES:
    assert id_ not in records or not records[id_].boxes


def test_manifest_counts_what_went_in(sets, content, read_manifest):
  for output in sets.values():
    content_ = read_manifest(output)
    images = {"train": sum(map(len, content.train.values())), "validation": len(content.validation)}
    assert {split: inputs.images for split, inputs in content_.inputs.items()} == images
    assert content_.inputs["train"].duplicates == 1
    assert content_.rejected == {"empty": 1, "truncated": 2}
    assert sum(content_.refused_boxes.values()) == len(synthetic_ilsvrc.REFUSED_BOXES)
    assert [key for key, _ in content_.labels] == list(synthetic_ilsvrc.SYNSETS)


def test_other_labels_of_the_same_images_are_other_input(tmp_path, content, capsys):
  folder = synthetic_ilsvrc.write(tmp_path / "in", synthetic_ilsvrc.lay_out_kaggle(content))
  assert run(folder, tmp_path / "out", "--no_boxes") == 0
  assert run(folder, tmp_path / "out", "--no_boxes", "--resume") == 0
  labels = folder / "LOC_val_solution.csv"
  swapped = {"n01440764": "n02012849", "n02012849": "n01440764"}
  labels.write_text(re.sub("|".join(swapped), lambda key: swapped[key[0]], labels.read_text()))
  given = ("--no_boxes", "--resume")
  assert run(folder, tmp_path / "out", *given) == errors.UsageError.exit_code
  assert "is complete, with inputs.validation.digest = " in capsys.readouterr().err


def test_name_in_two_classes_publishes_nothing(tmp_path, content, capsys):
  train = {key: dict(files) for key, files in content.train.items()}
  train["n02012849"]["n01440764_7.JPEG"] = b"x"
  files = synthetic_ilsvrc.lay_out_archives(
    synthetic_ilsvrc.Content(train, content.validation, {}, {})
  )
  folder = synthetic_ilsvrc.write(tmp_path / "in", files)
  assert run(folder, tmp_path / "out", "--no_boxes") == errors.RejectedInputError.exit_code
  said = capsys.readouterr().err
  assert "ILSVRC2012_img_train.tar/n01440764.tar/n01440764_7.JPEG" in said
  assert "ILSVRC2012_img_train.tar/n02012849.tar/n01440764_7.JPEG" in said
  assert not (tmp_path / "out").exists()


def test_damaged_class_archive_publishes_nothing(tmp_path, content, capsys):
  inner = {f"{key}.tar": synthetic_ilsvrc.write_tar(files) for key, files in content.train.items()}
  inner["n02092002.tar"] = inner["n02092002.tar"][:-11_000]
  files = synthetic_ilsvrc.lay_out_archives(content)
  files["ILSVRC2012_img_train.tar"] = synthetic_ilsvrc.write_tar(inner)
  folder = synthetic_ilsvrc.write(tmp_path / "in", files)
  assert run(folder, tmp_path / "out") == errors.IntegrityError.exit_code
  assert "n02092002.tar ends at byte" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_a_part_must_be_called_one(tmp_path, content, capsys):
  folder = synthetic_ilsvrc.write(tmp_path / "in", synthetic_ilsvrc.lay_out_kaggle(content))
  given = ["--source=imagenet", f"--input={folder}", f"--output={tmp_path / 'out'}"]
  assert errors.run_command(lambda: convert.main(given)) == errors.UsageError.exit_code
  assert "LOC_synset_mapping.txt has 4 classes, expected 1000" in capsys.readouterr().err
