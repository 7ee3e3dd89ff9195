"""Answers to images that processes share: brought together, they are those that were cut up."""

import numpy as np
import pytest

from tests import processes
from vggtf import contracts, errors, metrics
from vggtf.training import gathering

CLASSES = 7


def answers(count: int, posteriors: bool) -> contracts.Answers:
  """Returns answers to `count` images, sorted by id, as an evaluator does."""
  random = np.random.RandomState(count)
  probabilities = random.dirichlet(np.ones(CLASSES), count).astype(np.float32)
  best = np.argsort(-probabilities, axis=1)[:, :5].astype(np.int32)
  return contracts.Answers(
    id=np.array([b"validation/%d\xc3\xa9" % (100 + at) for at in range(count)], object),
    label=random.randint(0, CLASSES, count).astype(np.int32),
    classes=best,
    probabilities=np.take_along_axis(probabilities, best, 1),
    posteriors=probabilities if posteriors else None,
  )


def take(whole: contracts.Answers, numbers: np.ndarray) -> contracts.Answers:
  return contracts.Answers(*(None if one is None else one[numbers] for one in whole))


def share(whole: contracts.Answers, numbers: np.ndarray) -> list[contracts.Measured]:
  """Returns what a process measures on these images: the same for two predictors."""
  wrong = (whole.classes[numbers, 0] != whole.label[numbers]).sum()
  means = {"top1_error": metrics.Mean(float(wrong), float(len(numbers)))}
  return [contracts.Measured(None, means, take(whole, numbers))] * 2


@pytest.mark.parametrize(
  ("count", "posteriors"), [(1, False), (2, True), (7, True), (23, False), (24, True)]
)
def test_what_was_shared_is_brought_together(monkeypatch, count, posteriors):
  """P10: shares of unequal length, and without an image."""
  monkeypatch.setattr(gathering, "_IMAGES", 3)
  whole = answers(count, posteriors)
  with processes.joined(3) as ask:
    found, *others = ask(
      gathering.gather, *[share(whole, np.arange(count)[at::3]) for at in range(3)]
    )
  assert others == [None, None]
  wrong = (whole.classes[:, 0] != whole.label).sum()
  assert len(found) == 2
  for one in found:
    assert one.means == {"top1_error": (wrong, count)}
    for column, expected in zip(one.answers, whole, strict=True):
      if expected is None:
        assert column is None
      else:
        assert column.dtype == expected.dtype
        np.testing.assert_array_equal(column, expected)


def test_an_image_that_two_measured_is_refused():
  whole = answers(4, False)
  with processes.joined(2) as ask:
    found, other = ask(gathering.gather, *[share(whole, np.arange(4))[:1]] * 2)
  assert other is None
  assert isinstance(found, errors.IntegrityError)
  assert "4 images were measured by two processes, such as validation/100" in str(found)


def test_measurements_without_classes_are_brought_together_too():
  measured = [contracts.Measured(None, {"localisation_error": metrics.Mean(1.0, 3.0)}, None)]
  with processes.joined(2) as ask:
    found, _ = ask(gathering.gather, measured, measured)
  assert found == [contracts.Measured(None, {"localisation_error": metrics.Mean(2.0, 6.0)}, None)]
