"""The rival nets' gin files through the command line, one step on painted pictures."""

import json

import pytest

from tests import commands, samples

SIDES = {"alexnet.AlexNet": 67, "zfnet.ZFNet": 64, "googlenet.GoogLeNet": 80, "vgg.VGG": 32}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return samples.digits_like(tmp_path_factory.mktemp("painted") / "data", scales=(80,))


@pytest.mark.parametrize(
  ("gin_file", "net"),
  [
    ("alexnet", "alexnet.AlexNet"),
    ("zfnet", "zfnet.ZFNet"),
    pytest.param("googlenet", "googlenet.GoogLeNet", marks=pytest.mark.slow),
    ("vgg13_shallow", "vgg.VGG"),
  ],
)
def test_recipe_takes_a_step(gin_file, net, data_dir, tmp_path):
  params = {
    f"{net}.width": 0.0625,
    f"{net}.input_size": SIDES[net],
    "TrainingFeed.batch_size": 8,
    "TrainView.scale_min": 80,
    "TrainView.scale_max": 80,
    "Centre.scale": 80,
    "train.run.steps": 1,
    "train.run.evaluate_every": 1,
    "train.run.checkpoint_every": 1,
    "train.run.log_every": 1,
  }
  commands.call(
    f"--gin_file=gin/{gin_file}.gin",
    *(f"--gin_param={name} = {value}" for name, value in params.items()),
    f"--data_dir={data_dir}",
    f"--workdir={tmp_path}",
  )
  lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
  assert {(line["metric"], line["step"], line["count"]) for line in lines} == {
    ("top1_error", 1, 17),
    ("top5_error", 1, 17),
  }
  assert (tmp_path / "checkpoints" / "step-00000001" / "COMMIT.json").exists()
