"""Evaluation, export and prediction with a net that was trained a little."""

import functools
import json
import pathlib
import shutil
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests import samples
from tests.jobs import runs
from vggtf import errors, images, workdir
from vggtf.evaluators import classification, places
from vggtf.export import integrity
from vggtf.jobs import evaluate, export, predict, verify
from vggtf.predictors import dense
from vggtf.reports import heat_map
from vggtf.training.trained import load_model

DENSE = functools.partial(dense.Dense, scale=40, flip=False)
MEASURE = functools.partial(classification.Classification, predictor=DENSE, split="train")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data")


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp("trained") / "run"
  runs.run(folder, data_dir)
  facts = json.loads((folder / "run.json").read_text())
  facts["labels"][2] = "crane [bird] :dog:"  # as it was converted, for all that the jobs know
  (folder / "run.json").write_text(json.dumps(facts))
  return folder


@pytest.fixture(scope="module")
def exported(trained):
  """Returns the run's folder with the dense and the centre predictor exported."""
  for predictor in (runs.CENTRE, DENSE):
    export.run(str(trained), runs.MODEL, predictor)
  return trained


@pytest.fixture
def same_labels(monkeypatch):
  """Gives the data the labels of the run."""

  class Measure(classification.Classification):
    def __init__(self, *args, **options):
      super().__init__(*args, **options)
      self.labels = tuple(
        (key, text.replace("class 2", "crane [bird] :dog:")) for key, text in self.labels
      )

  return functools.partial(Measure, predictor=DENSE, split="train")


def test_evaluation_is_printed_and_kept(trained, data_dir, same_labels, capsys):
  before = workdir.Workdir(str(trained)).read_results()
  evaluate.run(str(trained), runs.MODEL, same_labels)
  folder = workdir.Workdir(str(trained))
  lines = folder.read_results()[len(before) :]
  net, _ = load_model(folder, folder.read_facts(), runs.MODEL, "latest")
  expected = MEASURE(net, data_dir)()
  printed = capsys.readouterr().out
  assert [line["metric"] for line in lines] == ["top1_error", "top5_error"]
  for line in lines:
    mean = expected[line["metric"]]
    assert (line["value"], line["count"]) == (mean.value, 48)
    assert line | {"job": "evaluate", "run": "run", "step": 6} == line
    assert line["protocol"] == "dense Q=40, mean of scores"
    assert f"{mean.value:.2%}" in printed


def test_the_best_checkpoint_is_evaluated_where_it_is_asked_for(trained, same_labels):
  evaluate.run(str(trained), runs.MODEL, same_labels, checkpoint_choice="best")
  assert workdir.Workdir(str(trained)).read_results()[-1]["step"] == 6  # the only one measured
  with pytest.raises(errors.UsageError, match="expected 'latest' or 'best'"):
    evaluate.run(str(trained), runs.MODEL, same_labels, checkpoint_choice="6")


def test_other_classes_are_refused_and_named(trained, data_dir, tmp_path):
  before = workdir.Workdir(str(trained)).read_results()
  with pytest.raises(errors.UsageError, match=f"other classes than those of {data_dir}"):
    evaluate.run(str(trained), runs.MODEL, MEASURE)
  fewer = samples.digits_like(tmp_path / "fewer", classes=3)
  with pytest.raises(errors.UsageError, match=f"other classes than those of {fewer}"):
    evaluate.run(str(trained), runs.MODEL, MEASURE, data_dir=fewer)
  assert workdir.Workdir(str(trained)).read_results() == before


def test_another_net_than_was_trained_is_refused(trained, same_labels):
  other = functools.partial(runs.MODEL, config="B")
  with pytest.raises(errors.IntegrityError, match="another configuration than this run's"):
    evaluate.run(str(trained), other, same_labels)


def test_jobs_need_a_run(tmp_path):
  for job, arguments in (
    (evaluate, (runs.MODEL, MEASURE)),
    (export, (runs.MODEL, DENSE)),
  ):
    with pytest.raises(errors.UsageError, match="holds no run"):
      job.run(str(tmp_path), *arguments)
  with pytest.raises(errors.UsageError, match="nothing was exported"):
    predict.run(str(tmp_path), ["a.jpg"])


class Wide(dense.Dense):
  name = "wide"


def test_export_prints_where_it_lies_and_is_done_once(trained, capsys):
  wide = functools.partial(Wide, scale=32)
  export.run(str(trained), runs.MODEL, wide)
  path = pathlib.Path(capsys.readouterr().out.strip())
  assert path == trained / "export" / "wide" / "6"
  assert (path / "saved_model.pb").exists()
  with pytest.raises(errors.UsageError, match="exported already"):
    export.run(str(trained), runs.MODEL, wide)


def test_an_export_is_verified_down_to_the_data(exported, data_dir, capsys):
  """P13: data set -> checkpoint -> model, digest by digest, and the golden answers."""
  verify.run(str(exported / "export" / "dense" / "6"))
  files, answers, *origin = capsys.readouterr().out.splitlines()
  assert files.startswith("files         as exported: ")
  assert answers.startswith(
    "answers       those of the evaluated net (dense Q=40, mean of scores), "
  )
  assert origin == [
    f"checkpoint    {exported}/checkpoints/step-00000006/COMMIT.json: the one that was exported",
    f"configuration {exported}/config.gin: the one that was exported",
    f"data          {data_dir}/manifest.json: the one that was exported",
  ]


def test_another_origin_is_found_out(exported, tmp_path, capsys):
  origin = integrity.check(exported / "export" / "dense" / "6")
  copy = workdir.Workdir(str(shutil.copytree(exported, tmp_path / exported.name)))
  for path, what in (
    (copy.checkpoints / "step-00000006" / "COMMIT.json", "checkpoint"),
    (copy.config, "configuration"),
  ):
    text = path.read_text()
    path.write_text(text + "\n")
    with pytest.raises(errors.IntegrityError, match=f"{path} is not the {what} that was exported"):
      verify.trace(copy, origin)
    path.write_text(text)
  index = copy.checkpoints / "step-00000006" / "state.index"
  index.write_bytes(index.read_bytes()[:-1])
  with pytest.raises(errors.IntegrityError, match=r"state\.index has another sha256"):
    verify.trace(copy, origin)
  shutil.rmtree(index.parent)  # as a training that goes on removes it
  verify.trace(copy, origin)
  assert "not looked at: " in capsys.readouterr().out
  facts = json.loads(copy.facts.read_text())
  copy.facts.write_text(json.dumps(facts | {"manifest_sha256": "0" * 64}))
  with pytest.raises(errors.IntegrityError, match="trained on other data than the exported net"):
    verify.trace(copy, origin)
  verify.trace(workdir.Workdir(str(exported)), origin | {"checkpoints": [{"run": "b", "step": 3}]})
  assert "step-00000003 of b: not looked at, it is another run's" in capsys.readouterr().out


def test_a_net_of_another_run_of_the_same_name_is_not_looked_at(exported, capsys):
  origin = integrity.check(exported / "export" / "dense" / "6")
  (own,) = origin["checkpoints"]
  verify.trace(
    workdir.Workdir(str(exported)), origin | {"checkpoints": [own, own | {"sha256": "0"}]}
  )
  first, second, *_ = capsys.readouterr().out.splitlines()
  assert first.endswith("COMMIT.json: the one that was exported")
  assert second.endswith("step-00000006 of run: not looked at, it is another run's")


def test_an_export_in_a_bucket_is_to_be_copied_first():
  with pytest.raises(errors.UsageError, match=r"--export=ram://b/dense/6: .* copy it from the"):
    verify.run("ram://b/dense/6")


def test_an_export_may_lie_anywhere(exported, capsys):
  with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # no run can be three folders above
    shutil.copytree(exported / "export" / "dense" / "6", folder, dirs_exist_ok=True)
    verify.run(folder)
  assert capsys.readouterr().out.endswith("origin        not looked at: give the run's --workdir\n")


@pytest.fixture
def pictures(tmp_path):
  paths = [tmp_path / "a.jpg", tmp_path / "b [x].png"]
  for seed, path in enumerate(paths):
    Image.fromarray(samples.paint(seed, 50, 60)).save(path)
  return paths


def test_prediction_is_what_the_trained_net_says(exported, pictures, capsys):
  predict.run(str(exported), [str(path) for path in pictures], predictor="dense")
  heading, *lines = capsys.readouterr().out.splitlines()
  assert heading == f"{exported}/export/dense/6 says"
  folder = workdir.Workdir(str(exported))
  facts = folder.read_facts()
  predictor = DENSE(load_model(folder, facts, runs.MODEL, "latest")[0])
  expected = []
  for path in pictures:
    view = predictor.prepare(images.decode(tf.constant(path.read_bytes())))
    posteriors = predictor(view[tf.newaxis]).numpy()[0]
    expected.append(str(path))
    for index in np.argsort(-posteriors, kind="stable"):
      expected.append(f"  {posteriors[index]:6.1%}  {facts.labels[index]}")
  assert lines == expected


class Bindings:
  """Stands for gin's, as --job=export had them."""

  def arguments(self, called):
    assert called == "vggtf.jobs.export.run"
    return {"model": runs.MODEL, "checkpoint_choice": "latest", "weights": "raw"}


def ask_for_maps(exported, files, folder, **options):
  predict.run(
    str(exported),
    [str(file) for file in files],
    predictor="dense",
    heatmap=str(folder),
    read_configuration=Bindings,
    **options,
  )


def test_heat_maps_show_where_the_answer_is_seen(exported, pictures, tmp_path, capsys):
  namesake = tmp_path / "other" / "a.jpg"
  namesake.parent.mkdir()
  Image.fromarray(samples.paint(7, 30, 90)).save(namesake)
  folder = tmp_path / "maps" / "new"
  predict.run(str(exported), [str(pictures[0])], predictor="dense")
  table = capsys.readouterr().out
  ask_for_maps(exported, [pictures[0]], folder, scale=96)
  assert capsys.readouterr().out == table
  ask_for_maps(exported, [*pictures, namesake, pictures[0]], folder, scale=96)
  names = ["a.jpg", "a.jpg-2", "a.jpg-3", "b [x].png"]
  assert {path.name for path in folder.iterdir()} == {f"{one}.heatmap.png" for one in names}

  run = workdir.Workdir(str(exported))
  net, _ = load_model(run, run.read_facts(), runs.MODEL, "latest")
  for path, name in zip([*pictures, namesake], (names[0], names[3], names[1]), strict=True):
    photo = images.decode(tf.constant(path.read_bytes())).numpy()
    height, width = photo.shape[:2]
    rescaled = images.rescale(tf.constant(photo), 96).numpy()
    scores = net.score_map(rescaled[np.newaxis]).numpy()[0].astype(float)
    view = DENSE(net).prepare(tf.constant(photo))
    top = DENSE(net)(view[tf.newaxis]).numpy()[0].argmax()  # what the table begins with
    map_ = (np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True))[..., top]
    assert min(map_.shape) > 2
    # A place stands at the centre of its window of 32 pixels; np.interp is linear and keeps ends.
    centres = [
      np.linspace(16, side - 16, count) if count > 1 else np.array([side / 2])
      for side, count in zip(rescaled.shape[:2], map_.shape, strict=True)
    ]
    y = (np.arange(height) + 0.5) * rescaled.shape[0] / height
    x = (np.arange(width) + 0.5) * rescaled.shape[1] / width
    rows = np.array([np.interp(x, centres[1], row) for row in map_])
    heat = np.array([np.interp(y, centres[0], column) for column in rows.T]).T
    found = np.asarray(Image.open(folder / f"{name}.heatmap.png"))
    seen = places.look(net, photo, 96)
    spread = heat_map.spread(seen.places[..., top], (height, width), seen.window)
    np.testing.assert_allclose(spread, heat, atol=1e-5)
    np.testing.assert_array_equal(found, heat_map.overlay(photo, spread))


def test_heat_maps_take_the_place_of_no_picture(exported, pictures, tmp_path):
  twin = tmp_path / "a.jpg.heatmap.png"
  shutil.copy(pictures[1], twin)
  before = twin.read_bytes()
  ask_for_maps(exported, [pictures[0], twin], tmp_path)
  assert twin.read_bytes() == before
  assert (tmp_path / "a.jpg-2.heatmap.png").exists()
  with pytest.raises(errors.UsageError, match="is a file or lies below one"):
    ask_for_maps(exported, pictures, pictures[0])


def test_heat_maps_need_the_net_that_was_exported(exported, pictures, tmp_path, monkeypatch):
  copy = shutil.copytree(exported, tmp_path / "run")
  (copy / "export" / "dense" / "6").rename(copy / "export" / "dense" / "3")
  with pytest.raises(errors.UsageError, match="of step 3, and the checkpoint at hand is of step 6"):
    ask_for_maps(copy, pictures, tmp_path / "maps")
  monkeypatch.setattr(Bindings, "arguments", lambda *_: {})
  with pytest.raises(errors.UsageError, match="does not say what the net is"):
    ask_for_maps(exported, pictures, tmp_path / "maps")
  assert not (tmp_path / "maps").exists()


def test_which_export_answers_must_be_clear(exported, pictures):
  with pytest.raises(errors.UsageError, match="exported are centre, dense"):
    predict.run(str(exported), [str(pictures[0])])
  with pytest.raises(errors.UsageError, match="predictor = 'multi'"):
    predict.run(str(exported), [str(pictures[0])], predictor="multi")


def test_what_is_no_picture_is_refused(exported, tmp_path):
  text = tmp_path / "notes.txt"
  text.write_text("a text")
  with pytest.raises(errors.UsageError, match=r"notes\.txt is not a whole JPEG or PNG"):
    predict.run(str(exported), [str(text)], predictor="centre")
  with pytest.raises(errors.UsageError, match=r"there is no file .*gone\.jpg"):
    predict.run(str(exported), [str(tmp_path / "gone.jpg")], predictor="centre")
  with pytest.raises(errors.UsageError, match="is a folder"):
    predict.run(str(exported), [str(tmp_path)], predictor="centre")


def test_a_picture_beyond_the_limits_is_told_which(exported, tmp_path):
  thin = tmp_path / "thin.png"
  Image.fromarray(samples.paint(0, 5, 60)).save(thin)
  with pytest.raises(
    errors.UsageError, match=r"thin\.png has 5x60 pixels; no side may be .*Limits"
  ):
    predict.run(str(exported), [str(thin)], predictor="centre")


@pytest.mark.parametrize(
  "name", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
@pytest.mark.parametrize("kept", [0, 0.5, None])
def test_an_export_that_is_damaged_is_said_so(exported, pictures, tmp_path, name, kept):
  copy = shutil.copytree(exported, tmp_path / "run")
  path = copy / "export" / "dense" / "6" / name
  content = path.read_bytes()
  path.unlink()
  if kept is not None:
    path.write_bytes(content[: int(kept * len(content))])
  with pytest.raises(errors.IntegrityError, match=r"dense/6 cannot be loaded .*--job=verify"):
    predict.run(str(copy), [str(pictures[0])], predictor="dense")


def test_the_newest_version_answers(exported, pictures, capsys):
  versions = exported / "export" / "centre"
  for name in (".writing-99", "99.old", "5"):  # neither of them the newest version
    (versions / name).mkdir(exist_ok=True)
  predict.run(str(exported), [str(pictures[0])], predictor="centre")
  assert str(versions / "6") in capsys.readouterr().out
