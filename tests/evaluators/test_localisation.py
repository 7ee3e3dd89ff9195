"""Boxes of a net whose answers are known, and what is written of them."""

import dataclasses
import functools
import math

import pytest
import tensorflow as tf

from tests import rectangles
from tests.jobs import runs
from vggtf import contracts, errors, workdir
from vggtf.data import pipeline
from vggtf.evaluators import localisation
from vggtf.jobs import evaluate
from vggtf.losses import boxes

COUNT, SCALE, SIDE = 21, 36, 32
ANSWERS = ((0.45, 0.45, 0.4, 0.45), (0.55, 0.55, 0.4, 0.45))  # of the two classes


def annotate(split, at, found):
  """Every third image has a second, slim object of its class, which is listed first."""
  (box,) = found
  return found if at % 3 else [dataclasses.replace(box, xmin=0.0, xmax=0.1), box]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("rectangles") / "set"
  return rectangles.write(folder, (32, 40), train=8, validation=COUNT, annotate=annotate)


class Same(tf.Module):
  """Answers every picture alike; black ones, which only padding is, with NaN."""

  input_size, classes = SIDE, 2

  def __init__(self, answers=ANSWERS):
    super().__init__()
    self._answers = tf.constant(answers)

  def __call__(self, images, training=None):
    answers = tf.tile(self._answers[tf.newaxis], [tf.shape(images)[0], 1, 1])
    black = tf.reduce_all(images == 0, axis=[1, 2, 3])
    answers = tf.where(black[:, tf.newaxis, tf.newaxis], math.nan, answers)
    return contracts.Outputs(None, boxes=answers)


def overlap(one, other) -> float:
  """Intersection over union of corners, in Python's floats."""
  sides = [
    max(min(one[axis + 2], other[axis + 2]) - max(one[axis], other[axis]), 0) for axis in (0, 1)
  ]
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
  return math.prod(sides) / (sum(areas) - math.prod(sides))


def is_right(at: int) -> bool:
  """Whether the answer, brought to the original picture's pixels, is one of its boxes."""
  (height, width), found = rectangles.choose("validation", at)
  shrunk = SCALE / min(height, width)
  x, y, w, h = (SIDE * number for number in ANSWERS[at % 2])
  left, top = (width * shrunk - SIDE) / 2, (height * shrunk - SIDE) / 2
  corners = [left + x - w / 2, top + y - h / 2, left + x + w / 2, top + y + h / 2]
  answer = [number / shrunk for number in corners]
  truth = [
    (box.xmin * width, box.ymin * height, box.xmax * width, box.ymax * height)
    for box in annotate("validation", at, found)
  ]
  overlaps = [overlap(answer, one) for one in truth]
  assert abs(max(overlaps) - 0.5) > 0.05  # rounding to pixels decides nothing
  return max(overlaps) > 0.5


def make(data_dir, net=None, **options):
  return localisation.Localisation(net or Same(), data_dir, SCALE, **options)


@pytest.mark.parametrize("batch_size", [4, 64])
def test_errors_are_those_counted_in_the_originals_pixels(data_dir, batch_size):
  wrong = sum(not is_right(at) for at in range(COUNT))
  assert 3 < wrong < COUNT - 3
  measure = make(data_dir, batch_size=batch_size)
  assert measure() == {"localisation_error": (wrong, COUNT)}
  assert measure.protocol == "box of the true class, centre 32 of 36"


def test_processes_share_the_images(data_dir):
  measure = make(data_dir, batch_size=4)
  shares = [measure(worker, 3)["localisation_error"] for worker in range(3)]
  assert [share.weight for share in shares] == [7, 7, 7]
  assert sum(share.total for share in shares) == measure()["localisation_error"].total


def test_a_box_that_is_not_finite_is_no_measurement(data_dir):
  net = Same((ANSWERS[0], (math.nan,) * 4))
  with pytest.raises(errors.DivergedError, match=r"boxes of 10 images are not finite: ") as caught:
    make(data_dir, net)()
  named = str(caught.value).split(": ")[1].split(", ")
  assert all(int(id_[-5:]) % 2 for id_ in named)


def test_a_net_without_boxes_is_refused(data_dir):
  class Classifier(Same):
    def __call__(self, images, training=None):
      return contracts.Outputs(tf.zeros((tf.shape(images)[0], 2)))

  with pytest.raises(errors.UsageError, match="measures nets that end in boxes"):
    make(data_dir, Classifier())()


def test_a_scale_below_the_crop_is_refused(data_dir):
  with pytest.raises(errors.UsageError, match=r"scale = 31: expected at least 32"):
    localisation.Localisation(Same(), data_dir, 31)


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
  folder = tmp_path_factory.mktemp("partly") / "set"
  return rectangles.write(
    folder, (32,), train=8, validation=9, annotate=lambda split, at, found: found * (at % 3 > 0)
  )


def test_images_without_a_box_are_refused_unless_that_is_allowed(partly):  # E9
  with pytest.raises(errors.RejectedInputError) as caught:
    make(partly, max_missing=2)
  assert caught.value.exit_code == 3
  assert str(caught.value).startswith(
    "6 of the 9 images of the split 'validation' have a box of their class, 3 have none and "
    "Localisation.max_missing = 2 allows for no more; convert the data again with boxes"
  )
  assert make(partly, max_missing=3)()["localisation_error"].weight == 6


MODEL = functools.partial(runs.MODEL, head="class_boxes")
MEASURE = functools.partial(localisation.Localisation, scale=SCALE)
PARTS = {
  "model": MODEL,
  "loss": boxes.Euclidean,
  "feed": functools.partial(
    pipeline.TrainingFeed, view=runs.FEED.keywords["view"], batch_size=8, boxes=True
  ),
  "evaluator": MEASURE,
}


def test_a_run_learns_boxes_and_writes_what_it_measured(data_dir, tmp_path, capsys):
  folder = workdir.Workdir(str(tmp_path / "run"))
  runs.run(folder.path, data_dir, **PARTS, steps=1)
  evaluate.run(str(folder.path), MODEL, MEASURE)
  trained, evaluated = folder.read_results()
  assert trained["metric"] == evaluated["metric"] == "localisation_error"
  assert (trained["value"], trained["count"]) == (evaluated["value"], COUNT)
  assert evaluated["protocol"] == "box of the true class, centre 32 of 36"
  share = evaluated["value"]
  assert evaluated["standard_error"] == math.sqrt(share * (1 - share) / COUNT)
  assert evaluated["nets"][0]["views"] == [["centre_box", SCALE, evaluated["protocol"], "1"]]
  assert f"localisation error {share:.2%} ± " in capsys.readouterr().out
  assert not (folder.path / "evaluations").exists()
  with pytest.raises(errors.UsageError, match="Centre asks for classes, but the net ends in boxes"):
    evaluate.run(str(folder.path), MODEL, runs.VALIDATOR)


def test_nothing_is_done_on_a_set_without_boxes(tmp_path):  # E9
  data = rectangles.write(tmp_path / "set", annotate=lambda *_: ())
  folder = workdir.Workdir(str(tmp_path / "run"))
  with pytest.raises(errors.RejectedInputError, match="0 of the 24 images of the split 'train'"):
    runs.run(folder.path, data, **PARTS)
  assert not folder.results.exists()
  assert runs.steps(folder.path) == []
  runs.run(folder.path, data, model=MODEL, evaluator=lambda net, data_dir: None, steps=0)
  with pytest.raises(
    errors.RejectedInputError, match="0 of the 9 images of the split 'validation'"
  ):
    evaluate.run(str(folder.path), MODEL, MEASURE)
  assert not folder.results.exists()
