"""Boxes through the command lines: learnt, measured, and refused where there are none."""

import json

import pytest

from tests import commands, rectangles

SMALL = (
  "--gin_file=gin/quickstart.gin",
  "--gin_param=VGG.width = 0.125",
  "--gin_param=VGG.norm = 'batch'",
  "--gin_param=VGG.dropout = 0.0",
  "--gin_param=TrainingFeed.batch_size = 32",
)
BOXES = ("--gin_file=gin/with/boxes.gin", "--gin_param=localisation.Localisation.scale = 32")


@pytest.mark.slow
def test_a_net_learns_where_rectangles_are(tmp_path):
  data = rectangles.write(tmp_path / "data", train=512, validation=128)
  common = ("vggtf.main", SMALL[0], *BOXES[:1], *SMALL[1:], *BOXES[1:], f"--data_dir={data}")
  source = tmp_path / "classifier"
  drawn = ("--gin_param=train.run.steps = 0", f"--workdir={source}", f"--data_dir={data}")
  commands.run("vggtf.main", *SMALL, *drawn)
  run = tmp_path / "run"
  train = (
    *common,
    f"--gin_param=SOURCE = '{source}'",
    "--gin_param=train.run.steps = 300",
    "--gin_param=train.run.evaluate_every = 100",
    "--gin_param=schedules.Plateau.initial = 0.01",
    f"--workdir={run}",
  )
  _, stderr = commands.run(*train)
  assert "512 of the 512 images of the split 'train' have a box of their class" in stderr
  assert (run / "initial.txt").read_text().endswith("drawn: fc8_box\n")
  assert "localisation error" in stderr

  measure = ("vggtf.main", "--job=evaluate", f"--workdir={run}")
  stdout, _ = commands.run(*measure, "--gin_file=gin/eval/localisation.gin")
  lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
  assert [line["metric"] for line in lines] == ["localisation_error"] * 4
  assert lines[-1]["value"] == lines[-2]["value"] < 0.1
  assert f"{lines[-1]['value']:.2%}" in stdout
  dense = (
    "--gin_file=gin/eval/dense_localisation.gin",
    f"--gin_param=CLASSIFIER = '{source}'",
    "--gin_param=DenseLocalisation.scales = (32, 40)",
  )
  stdout, _ = commands.run(*measure, *dense)
  assert "top-5 localisation error" in stdout
  assert "dense Q=32,40, merged above 0.5 (run and classifier)" in stdout

  bare = rectangles.write(tmp_path / "bare", train=64, annotate=lambda *_: ())  # E9
  for command in (
    (*train, f"--workdir={tmp_path}/none", f"--data_dir={bare}"),
    (*measure, f"--data_dir={bare}"),
  ):
    _, stderr = commands.run(*command, code=3)
    assert "data_tools.convert --source=imagenet" in stderr
  assert not (tmp_path / "none" / "checkpoints").exists()
  assert len((run / "results.jsonl").read_text().splitlines()) == 5
