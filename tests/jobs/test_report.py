"""The report of a run, from one that only began to one that was evaluated."""

import base64
import functools
import io
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import samples
from tests.jobs import runs
from tests.reports import markup
from vggtf import errors, workdir
from vggtf.data import shards
from vggtf.evaluators import classification, places
from vggtf.jobs import evaluate, report
from vggtf.predictors import dense
from vggtf.reports import answers, heat_map
from vggtf.training import hooks, trained

DENSE = functools.partial(dense.Dense, scale=32, flip=False)
MEASURE = functools.partial(classification.Classification, predictor=DENSE)
SCALE = 64


class Configuration:
  """Stands for gin's."""

  def arguments(self, called):
    assert called == "vggtf.jobs.evaluate.run"
    return {"model": runs.MODEL, "checkpoint_choice": "latest", "weights": "raw"}


write = functools.partial(report.run, read_configuration=Configuration)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data", validation=17)


@pytest.fixture(scope="module")
def drawn(data_dir, tmp_path_factory):
  """Returns the folder of a run whose net is as it was drawn."""
  folder = tmp_path_factory.mktemp("drawn") / "run"
  runs.run(folder, data_dir, steps=0)
  return workdir.Workdir(str(folder))


@pytest.fixture(scope="module")
def evaluated(drawn):
  for folder, scalars in (
    ("train", {"loss": 0.5, "top1_error": 0.25, "learning_rate": 1e-3, "images_per_second": 80.0}),
    ("validation", {"top1_error": 0.5, "localisation_error": 0.75}),
  ):
    board = hooks.TensorBoard(drawn.logs / folder, 1)
    for step in (1, 2):
      board.scalars({name: value / step for name, value in scalars.items()}, step)
  evaluate.run(str(drawn.path), runs.MODEL, MEASURE)
  return drawn


@pytest.fixture(scope="module")
def whole(evaluated):
  write(str(evaluated.path), scale=SCALE, photos=3)
  return evaluated.report.read_text(encoding="utf-8")


def section(text, name):
  """Returns a part of the page, checked to be well-formed with the rest."""
  read = markup.Page(text)
  assert read.problems == []
  return re.search(rf'<section id="{name}">(.*?)</section>', text, re.S)[1]


def images_of(text):
  return [
    np.asarray(Image.open(io.BytesIO(base64.b64decode(one))))
    for one in re.findall(r'src="data:image/\w+;base64,([^"]*)"', text)
  ]


def test_curves_configuration_and_sittings_are_there(whole):
  curves = section(whole, "curves")
  for text in ("loss", "training 0.25", "validation 25 %", "learning rate", "training 40"):
    assert text in curves
  titles = re.findall("<figcaption><strong>(.*?)</strong>", curves)
  assert titles[:3] == ["loss", "localisation error", "top-1 error"]
  assert curves.count("<svg") == len(titles) == 5
  assert "c = 3" in section(whole, "configuration")  # the operative one
  assert "CPU" in section(whole, "run")
  assert "dense Q=32" in section(whole, "run")


def test_errors_of_classes_are_those_that_were_kept(whole, evaluated):
  (folder,) = (evaluated.path / answers.FOLDER).iterdir()
  heading, *lines = (folder / "classes.csv").read_text().splitlines()
  assert heading == "class,images,top1_error,top5_error"
  assert len(lines) == 4
  rows = re.findall(r"<tr>(<td>.*?)</tr>", section(whole, "classes"))
  for line, row in zip(lines, rows, strict=False):
    name, count, *errors_ = line.split(",")
    cells = [re.sub("<[^>]*>", "", cell) for cell in row.split("</td>")[:4]]
    assert cells == [name, count, *(f"{100 * float(one):.1f} %" for one in errors_)]
  confusions = (folder / "confusion.csv").read_text().splitlines()[1:]
  assert len(rows) == len(lines) + len(confusions)


def test_mistakes_are_shown_with_their_own_pictures(whole, evaluated, data_dir):
  (folder,) = (evaluated.path / answers.FOLDER).iterdir()
  kept = answers.load(folder / answers.NAME)
  expected = answers.worst_mistakes(kept, 24)
  text = section(whole, "mistakes")
  found = re.findall(r"<strong><bdi>(.*?)</bdi></strong>, <bdi>(.*?)</bdi>", text)
  assert found == [(label, name) for name, label, _, _ in expected]
  records = shards.Shards(data_dir, "validation")
  stored = {one.id: one for one in (records.read(n, 40) for n in range(records.count))}
  shown = images_of(text)
  assert len(shown) == len(expected) > 0
  for picture, (name, *_) in zip(shown, expected, strict=True):
    original = np.asarray(Image.open(io.BytesIO(stored[name].encoded)))
    assert picture.shape == original.shape
    assert np.abs(picture.astype(float) - original).mean() < 4


def test_maps_are_of_the_answer_and_lie_over_the_photo(whole, evaluated, data_dir):
  (folder,) = (evaluated.path / answers.FOLDER).iterdir()
  kept = answers.load(folder / answers.NAME)
  net = trained.load_run(str(evaluated.path), runs.MODEL)
  records = shards.Shards(data_dir, "validation")
  text = section(whole, "maps")
  shown = images_of(text)
  assert len(shown) == 6
  assert f"brought to {SCALE} pixels" in text
  for at, number in enumerate((0, 8, 16)):
    record = records.read(number, 40)
    (row,) = np.flatnonzero(kept.answers.id == record.id.encode())
    number_of_class = kept.answers.classes[row, 0]
    assert f"<bdi>{record.id}</bdi>; answered <bdi>class {number_of_class}</bdi>" in text
    photo = np.asarray(Image.open(io.BytesIO(record.encoded)))
    seen = places.look(net, photo, SCALE)
    map_ = seen.places[..., number_of_class]
    assert f"at places {100 * map_.min():.1f} % to {100 * map_.max():.1f} %" in text
    expected = heat_map.draw(photo, map_, seen.window)
    assert np.abs(shown[2 * at].astype(float) - photo).mean() < 4
    assert np.abs(shown[2 * at + 1].astype(float) - expected).mean() < 4


def test_posteriors_at_places_are_those_of_crops(evaluated):
  net = trained.load_run(str(evaluated.path), runs.MODEL)
  photo = samples.paint(3, 50, 80)
  seen = places.look(net, photo, 50)  # as it is, so that numpy need not resize
  scores = net.score_map(photo[np.newaxis].astype(np.float32)).numpy()[0].astype(float)
  softmax = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
  np.testing.assert_allclose(seen.places, softmax, atol=1e-6)
  mean = np.exp(scores.mean(axis=(0, 1)))
  np.testing.assert_allclose(seen.posteriors, mean / mean.sum(), atol=1e-6)
  assert seen.window == (32 / 50, 32 / 80)


def test_the_first_layer_is_shown(whole, evaluated):
  (sheet,) = images_of(section(whole, "filters"))
  net = trained.load_run(str(evaluated.path), runs.MODEL)
  weights = net.layers["conv1_1"].weights.numpy()  # 3, 3, 3, 4: two rows of two filters
  assert weights.shape == (3, 3, 3, 4)
  small = sheet[4::8, 4::8][..., :3]
  expected = np.round(127.5 + 127.5 * weights / np.abs(weights).max())
  np.testing.assert_array_equal(small[:3, :3], expected[..., 0])
  np.testing.assert_array_equal(small[4:, 4:], expected[..., 3])


def absent(text, name):
  return re.search(r'<p class="absent">(.*?)</p>', section(text, name))[1]


def test_what_a_run_lacks_is_said_and_nothing_fails(drawn, tmp_path, capsys):
  copy = workdir.Workdir(str(tmp_path / "run"))
  copy.path.mkdir()
  shutil.copy(drawn.facts, copy.facts)

  def broken():
    raise errors.UsageError("our_nets is not allowed")

  report.run(str(copy.path), broken, data_dir=str(tmp_path / "gone"))
  assert capsys.readouterr().out == f"{copy.report}\n"
  text = copy.report.read_text(encoding="utf-8")
  for name, reason in (
    ("curves", "nothing was trained here yet"),
    ("classes", "there are no answers to single images yet"),
    ("mistakes", "there are no answers to single images yet"),
    ("maps", "our_nets is not allowed"),
    ("filters", "our_nets is not allowed"),
    ("configuration", "has no config.gin"),
  ):
    assert reason in absent(text, name)
  write(str(copy.path))
  text = copy.report.read_text(encoding="utf-8")
  assert "holds no checkpoint" in absent(text, "filters")


def test_without_the_data_there_are_no_pictures(evaluated, data_dir, tmp_path):
  page = tmp_path / "pages" / "page.html"
  write(str(evaluated.path), output=str(page), data_dir=str(tmp_path))
  text = page.read_text(encoding="utf-8")
  assert "is not a converted data set" in absent(text, "maps")
  assert "is not a converted data set" in absent(text, "mistakes")
  assert "<strong>" in section(text, "mistakes")  # they are listed
  assert not images_of(section(text, "mistakes"))
  assert len(images_of(section(text, "filters"))) == 1
  other = samples.digits_like(tmp_path / "other", validation=16)
  write(str(evaluated.path), output=str(page), data_dir=other)
  assert "is not the data set that was measured" in absent(page.read_text("utf-8"), "mistakes")
  fewer = samples.digits_like(tmp_path / "fewer", classes=3)
  write(str(evaluated.path), output=str(page), data_dir=fewer)
  assert "has other classes than the run" in absent(page.read_text("utf-8"), "maps")
  assert [path.name for path in page.parent.iterdir()] == ["page.html"]  # nothing half-written


def test_a_damaged_evaluation_is_said(evaluated, tmp_path):
  copy = workdir.Workdir(str(shutil.copytree(evaluated.path, tmp_path / "run")))
  (file,) = copy.path.glob("evaluations/*/answers.npz")
  file.write_bytes(file.read_bytes()[:100])
  write(str(copy.path), photos=1)
  text = copy.report.read_text(encoding="utf-8")
  assert "is damaged; evaluate again" in absent(text, "classes")
  assert len(images_of(section(text, "maps"))) == 2


def test_a_net_that_cannot_be_mapped_is_named():
  photo, mean = samples.paint(0, 40, 50), (120.0, 120.0, 120.0)
  boxes = runs.MODEL(classes=4, mean_rgb=mean, head="box")
  with pytest.raises(errors.UsageError, match="VGG ends in boxes: only of a net that gives scores"):
    places.look(boxes, photo, 40)
  with pytest.raises(errors.UsageError, match="Module has no score_map: only"):
    places.look(tf.Module(), photo, 40)
  with pytest.raises(errors.UsageError, match="smaller than the net's input of 32 pixels"):
    places.choose_scale(boxes, 31)
  assert places.choose_scale(boxes, None) == 64


def test_it_needs_a_run_and_a_file_to_write(evaluated, tmp_path):
  with pytest.raises(errors.UsageError, match="holds no run"):
    write(str(tmp_path))
  (tmp_path / "run.json").write_text("{")
  with pytest.raises(errors.IntegrityError, match="is damaged"):
    write(str(tmp_path))
  with pytest.raises(errors.UsageError, match="is a folder; expected a file"):
    write(str(evaluated.path), output=str(tmp_path))


@pytest.mark.parametrize("name", ["photos", "mistakes"])
def test_less_than_nothing_cannot_be_shown(tmp_path, name):
  with pytest.raises(errors.UsageError, match=rf"report\.run\.{name} = -1: expected 0 or more"):
    write(str(tmp_path), **{name: -1})
