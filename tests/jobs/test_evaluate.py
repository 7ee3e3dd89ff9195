"""Evaluations: what their lines say, what a second one does, what is left of one that fails."""

import functools
import hashlib
import json
import math
import os
import shutil
import signal
import socket

import gin
import numpy as np
import pytest

from tests import commands, processes, samples
from tests.jobs import runs
from vggtf import config, errors, workdir
from vggtf.data import shards
from vggtf.evaluators import classification
from vggtf.jobs import evaluate, train
from vggtf.predictors import dense, mean, multi_scale
from vggtf.reports import answers, fusion, tables
from vggtf.training import peers

SCALES = functools.partial(multi_scale.MultiScale, predictor=dense.Dense)
DENSE = functools.partial(dense.Dense, scale=32)
MEASURE = functools.partial(classification.Classification, predictor=SCALES)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data", validation=17)


@pytest.fixture
def drawn(data_dir, tmp_path):
  """Returns the folder of a run whose net is as it was drawn, at S ~ U[32, 40]."""
  folder = workdir.Workdir(str(tmp_path / "run"))
  runs.run(folder.path, data_dir, steps=0)
  folder.operative_config.write_text("TrainView.scale_max = 40\nTrainView.scale_min = 32\n")
  return folder


def test_lines_say_how_sure_of_what_and_on_what(drawn, data_dir):
  evaluate.run(str(drawn.path), runs.MODEL, MEASURE)
  lines = drawn.read_results()
  assert [line["metric"] for line in lines] == ["top1_error", "top5_error"] * 4
  protocols = [f"dense Q={q}, mean of scores, flip" for q in ("32", "36", "40", "32,36,40")]
  assert [line["protocol"] for line in lines[::2]] == protocols
  commit = (drawn.checkpoints / "step-00000000" / "COMMIT.json").read_bytes()
  manifest = shards.read_manifest(data_dir)
  for line, scales in zip(lines[::2], ([32], [36], [40], [32, 36, 40]), strict=True):
    assert line["standard_error"] == math.sqrt(line["value"] * (1 - line["value"]) / 17)
    assert (line["count"], line["split"]) == (17, "validation")
    assert line["data_sha256"] == hashlib.sha256(manifest.to_json().encode()).hexdigest()
    assert line["nets"] == [
      {
        "net": "A, width 0.0625, batch norm",
        "run": "run",
        "step": 0,
        "checkpoint_sha256": hashlib.sha256(commit).hexdigest(),
        "averaged": False,
        "trained_at": [32, 40],
        "views": [
          ["dense", q, f"dense Q={q}, mean of scores, flip", "1/3" if len(scales) > 1 else "1"]
          for q in scales
        ],
      }
    ]
  (kept,) = (drawn.path / answers.FOLDER).iterdir()  # of the whole, its parts being no means
  assert kept.name == lines[-1]["details"]
  found = answers.load(kept / answers.NAME)
  assert fusion.means(found)["top1_error"].value == pytest.approx(lines[-2]["value"])
  assert found.labels == drawn.read_facts().labels


class Counted(classification.Classification):
  measured = 0

  def measure(self, posteriors=False):
    Counted.measured += 1
    return super().measure(posteriors)


def test_what_was_measured_need_not_be_repeated(drawn, capsys):
  Counted.measured = 0
  again = functools.partial(
    evaluate.run, str(drawn.path), runs.MODEL, functools.partial(Counted, predictor=DENSE)
  )
  again(repeat=False)
  lines, printed = drawn.read_results(), capsys.readouterr().out
  again(repeat=False)
  assert Counted.measured == 1
  assert drawn.read_results() == lines
  assert capsys.readouterr().out == printed
  again(repeat=False, posteriors=True)  # these were not kept
  again(repeat=False, posteriors=True)
  assert Counted.measured == 2
  again()
  assert Counted.measured == 3
  numbers = [(line["details"], line["metric"], line["value"]) for line in drawn.read_results()]
  assert len(numbers) == 3 * len(lines)
  assert len(set(numbers)) == len(lines)  # the same numbers every time


def test_posteriors_of_a_part_that_are_gone_are_made_again(drawn):
  Counted.measured = 0
  whole = functools.partial(mean.Mean, predictors=[SCALES, runs.CENTRE])
  for predictor, options in (
    (whole, {"posteriors": True}),
    (SCALES, {}),  # takes the place of the part's answers
    (whole, {"posteriors": True, "repeat": False}),
    (whole, {"posteriors": True, "repeat": False}),
  ):
    evaluator = functools.partial(Counted, predictor=predictor)
    evaluate.run(str(drawn.path), runs.MODEL, evaluator, **options)
  assert Counted.measured == 3
  for folder in (drawn.path / answers.FOLDER).iterdir():
    assert answers.load(folder / answers.NAME).answers.posteriors is not None


@pytest.mark.parametrize(("count", "predictor"), [(2, DENSE), (3, runs.CENTRE)])
def test_processes_that_share_the_images_find_what_one_does(drawn, capsys, count, predictor):
  """P10: 17 images in batches of 4 for one, of 5 and of 3 for those that share them."""

  def run(together, batch_size):
    evaluator = functools.partial(
      classification.Classification, predictor=predictor, batch_size=batch_size
    )
    again = {"posteriors": True, "processes": lambda: together}
    evaluate.run(str(drawn.path), runs.MODEL, evaluator, **again)

  run(peers.Peers(), 4)
  alone, printed = drawn.read_results(), capsys.readouterr().out
  (folder,) = (drawn.path / answers.FOLDER).iterdir()
  expected = answers.load(folder / answers.NAME)
  with processes.joined(count) as ask:
    assert ask(run, *(5, 3, 3)[:count]) == [None] * count
  assert capsys.readouterr().out == printed
  assert drawn.read_results() == alone + alone
  found = answers.load(folder / answers.NAME)
  assert len(found.answers.id) == 17
  for name in ("id", "label", "classes"):
    np.testing.assert_array_equal(getattr(found.answers, name), getattr(expected.answers, name))
  np.testing.assert_allclose(found.answers.posteriors, expected.answers.posteriors, atol=1e-6)


def test_processes_that_would_measure_differently_refuse(drawn):
  """M5."""

  def run(together, scale):
    predictor = functools.partial(dense.Dense, scale=scale)
    evaluator = functools.partial(classification.Classification, predictor=predictor)
    evaluate.run(str(drawn.path), runs.MODEL, evaluator, processes=lambda: together)

  with processes.joined(2) as ask:
    for error in ask(run, 32, 40):
      assert isinstance(error, errors.UsageError)
      assert "worker 1 (b:1) and worker 0 (a:1) have different protocols; give" in str(error)
  assert drawn.read_results() == []


class Short(classification.Classification):
  def __init__(self, *args, **options):
    super().__init__(*args, **options)
    whole = self._batches
    self._batches = lambda *share: whole(*share).take(2)


class Killed(classification.Classification):
  def _answers(self, views):
    raise KeyboardInterrupt


class Broken(classification.Classification):
  def _answers(self, views):
    return tuple(one * math.nan for one in super()._answers(views))


@pytest.mark.parametrize(  # E2, E4, E7
  ("kind", "error"),
  [
    (Short, errors.IntegrityError),
    (Broken, errors.DivergedError),
    (Killed, KeyboardInterrupt),
  ],
)
def test_an_evaluation_that_is_not_whole_leaves_nothing(drawn, kind, error):
  with pytest.raises(error):
    evaluate.run(str(drawn.path), runs.MODEL, functools.partial(kind, predictor=DENSE))
  assert drawn.read_results() == []
  assert not (drawn.path / answers.FOLDER).exists()


KILLING = """
import os, signal
import tensorflow as tf
from vggtf.predictors import dense

class Killing(dense.Dense):
  calls = 0

  def __call__(self, views):
    with tf.control_dependencies([tf.py_function(self.count, [], [])]):
      return super().__call__(tf.identity(views))

  def count(self):
    self.calls += 1
    if self.calls == 5:
      os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("_no_bindings_left")
def test_a_killed_evaluation_is_simply_run_again(data_dir, tmp_path):  # E7
  run = draw(tmp_path / "run", data_dir, "A")
  (tmp_path / "killing.py").write_text(KILLING)
  (tmp_path / "killing.gin").write_text(
    "from __gin__ import dynamic_registration\nimport killing\nPREDICTOR = @killing.Killing\n"
    "killing.Killing.scale = 32\nkilling.Killing.flip = False\n"
  )
  command = ("vggtf.main", "--job=evaluate", f"--workdir={run.path}")
  commands.run(
    *command,
    f"--gin_file={tmp_path}/killing.gin",
    "--gin_allow_import=killing",
    code=-signal.SIGKILL,
    path=tmp_path,
  )
  assert run.read_results() == []
  assert not (run.path / answers.FOLDER).exists()
  commands.run(*command)
  first = run.read_results()
  commands.run(*command)
  assert len(first) == 2
  assert run.read_results() == first + first


@pytest.mark.slow
@pytest.mark.usefixtures("_no_bindings_left")
def test_two_processes_print_and_write_what_one_does(data_dir, tmp_path):
  """P10, from the command line; the second has a copy of the run."""
  run = draw(tmp_path / "run", data_dir, "A")
  other = workdir.Workdir(str(shutil.copytree(run.path, tmp_path / "elsewhere" / "run")))
  flags = ("--gin_file=gin/eval/combined.gin", "--gin_param=Classification.batch_size = 3")
  expected, _ = commands.run("vggtf.main", "--job=evaluate", f"--workdir={run.path}", *flags)
  alone = run.read_results()
  with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as two:
    places = [f"localhost:{server.getsockname()[1]}" for server in (one, two)]
  both = []
  for index, folder in enumerate((run, other)):
    task = {"cluster": {"worker": places}, "task": {"type": "worker", "index": index}}
    own = ("--job=evaluate", f"--workdir={folder.path}", "--gin_file=gin/with/shares.gin")
    environment = os.environ | {"PYTHONPATH": str(commands.ROOT), "TF_CONFIG": json.dumps(task)}
    both.append(commands.start("vggtf.main", *own, *flags, env=environment))
  (printed, told), (nothing, other_told) = (process.communicate() for process in both)
  assert [process.returncode for process in both] == [0, 0], told + other_told
  print(printed)
  assert (printed, nothing) == (expected, "")
  assert run.read_results() == alone + alone
  assert other.read_results() == []


def test_a_run_without_a_checkpoint_is_incomplete(drawn):  # E1
  for path in drawn.checkpoints.iterdir():
    path.rename(drawn.path / path.name)
  with pytest.raises(errors.IntegrityError, match="holds no checkpoint yet"):
    evaluate.run(str(drawn.path), runs.MODEL, MEASURE)


@pytest.fixture
def _no_bindings_left():
  gin.clear_config()
  yield
  gin.clear_config()


def draw(folder, data_dir, letter):
  """Makes a run of a net as it is drawn, by the quickstart's configuration; returns its folder."""
  gin.clear_config()
  params = [f"VGG.config = '{letter}'", "VGG.width = 0.0625", "train.run.steps = 0"]
  params.append("TrainingFeed.batch_size = 8")
  config.parse(["gin/quickstart.gin"], params)
  config.configured(train.run)(workdir=str(folder), data_dir=data_dir, configuration=config)
  return workdir.Workdir(str(folder))


@pytest.mark.usefixtures("_no_bindings_left")
def test_two_nets_through_all_protocols_in_one_pass(data_dir, tmp_path):
  a, b = (draw(tmp_path / letter, data_dir, letter) for letter in "AB")
  gin.clear_config()
  overlay = ["gin/eval/fusion.gin"]
  params = [f"RUNS = ['{b.path}']", "evaluate.run.posteriors = True", "VGG.dropout = 0.25"]
  config.parse(overlay, params, kept=str(a.config))
  config.configured(evaluate.run)(workdir=str(a.path))

  lines = a.read_results()
  of_one = ["dense"] * 4 + ["multi-crop"] * 4 + ["dense"]  # and multi-crop
  assert [line["protocol"].split()[0] for line in lines[::2]] == [*of_one, *of_one, "2"]
  assert [net["net"] for net in lines[-1]["nets"]] == ["A, width 0.0625", "B, width 0.0625"]
  assert all(line["protocol"].endswith("(B)") for line in lines[18:36])
  kept = {
    tuple(net["run"] for net in one.line["nets"]): one
    for one in (
      answers.load(folder / answers.NAME)
      for folder in (a.path / answers.FOLDER).iterdir()
      if folder.name.startswith(("combined", "fusion"))
    )
  }
  assert kept.keys() == {("A",), ("B",), ("A", "B")}
  fused = fusion.fuse([kept["A",], kept["B",]], ("a", "b"))
  np.testing.assert_allclose(
    fused.answers.posteriors, kept["A", "B"].answers.posteriors, rtol=0, atol=1e-6
  )
  assert fused.line["nets"] == kept["A", "B"].line["nets"]
  rows = [len([cells for cells in table.rows if "±" in cells[6]]) for table in tables.gather(lines)]
  assert rows == [6, 2, 4, 1, 6]  # of tables 3 to 6, and crops at one scale
