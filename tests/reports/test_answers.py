"""Errors of classes, confusions and mistakes against scikit-learn's, and what a file keeps."""

import csv

import numpy as np
import pytest

from tests.reports import kept as made
from vggtf import errors
from vggtf.reports import answers


def test_errors_of_classes_are_those_of_scikit_learn():
  metrics = pytest.importorskip("sklearn.metrics")
  kept = made.make(count=90)
  label, posteriors = kept.answers.label, kept.answers.posteriors
  rows = answers.class_errors(kept)
  assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)
  matrix = metrics.confusion_matrix(label, kept.answers.classes[:, 0])
  for name, images, top1, top5 in rows:
    one = made.LABELS.index(name)
    assert images == (label == one).sum()
    assert top1 == pytest.approx(1 - matrix[one, one] / images)
    of_class = label == one
    hits = metrics.top_k_accuracy_score(
      label[of_class], posteriors[of_class], k=5, labels=range(len(made.LABELS))
    )
    assert top5 == pytest.approx(1 - hits)
  found = answers.confusions(kept)
  assert sum(count for *_, count in found) == 90 - np.trace(matrix)
  for name, other, count in found:
    assert matrix[made.LABELS.index(name), made.LABELS.index(other)] == count


def test_a_class_without_images_has_no_errors():
  kept = made.make(count=4)
  assert {name for name, *_ in answers.class_errors(kept)} == set(made.LABELS[:4])


def test_the_surest_mistakes_come_first():
  kept = made.make(count=90)
  found = answers.worst_mistakes(kept, 5)
  wrong = kept.answers.posteriors.argmax(axis=1) != kept.answers.label
  expected = sorted(kept.answers.posteriors.max(axis=1)[wrong], reverse=True)[:5]
  assert [probability for *_, probability in found] == pytest.approx(expected)
  for id_, name, other, probability in found:
    at = int(id_.removeprefix("validation/"))
    assert name == made.LABELS[kept.answers.label[at]] != other
    assert kept.answers.posteriors[at, made.LABELS.index(other)] == pytest.approx(probability)


def test_what_is_saved_comes_back(tmp_path):
  kept = made.make()
  answers.save(tmp_path, kept)
  folder = tmp_path / answers.FOLDER / kept.line["details"]
  found = answers.load(folder / answers.NAME)
  assert (found.labels, found.line) == (kept.labels, kept.line)
  for one, other in zip(found.answers, kept.answers, strict=True):
    np.testing.assert_array_equal(one, other)
  with open(folder / "classes.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  assert {row["class"] for row in rows} == set(made.LABELS)
  assert sum(int(row["images"]) for row in rows) == 40
  with open(folder / "confusion.csv", newline="") as file:
    assert sum(int(row["images"]) for row in csv.DictReader(file)) == sum(
      kept.answers.classes[:, 0] != kept.answers.label
    )
  assert sorted(path.name for path in folder.iterdir()) == [
    "answers.npz",
    "classes.csv",
    "confusion.csv",
  ]


def test_posteriors_may_be_left_out(tmp_path):
  kept = made.make(posteriors=None)
  answers.save(tmp_path, kept)
  path = tmp_path / answers.FOLDER / kept.line["details"] / answers.NAME
  assert answers.load(path).answers.posteriors is None


def test_a_damaged_file_is_refused(tmp_path):
  kept = made.make()
  answers.save(tmp_path, kept)
  path = tmp_path / answers.FOLDER / kept.line["details"] / answers.NAME
  content = bytearray(path.read_bytes())
  path.write_bytes(content[:-100])
  with pytest.raises(errors.IntegrityError, match="is damaged; evaluate again"):
    answers.load(path)
  content[content.rindex(b"PK\x01\x02") + 10] = 99  # how "about" is compressed
  path.write_bytes(content)
  with pytest.raises(errors.IntegrityError, match="is damaged; evaluate again"):
    answers.load(path)
  for other in (tmp_path / "answers.npz", tmp_path, path / "below"):
    with pytest.raises(errors.UsageError, match="there is no file"):
      answers.load(other)
