import itertools
import os
import sys

import gin
import pytest

from tests import samples
from tests.conformance import configurations
from vggtf import config, errors
from vggtf.jobs import plan
from vggtf.training import lowering, tpu_compiler


def planned(capsys, *names, params=(), **options) -> dict[str, str]:
  """Returns the rows that a plan of gin files prints, by name, and its first line as "title"."""
  configurations.parse(*names, params=params)
  plan.run(config, **options)
  title, *lines = capsys.readouterr().out.splitlines()
  rows = (line.split("  ", 2)[1:] for line in lines if line.startswith("  "))
  return {"title": title} | {name.strip(): value.strip() for name, value in rows}


def test_the_quickstart_without_data_or_devices(capsys):
  rows = planned(capsys, "quickstart", "with/ema", "with/accumulate", classes=10)
  assert rows["title"].startswith("VGG, 10 classes, images of 32x32; 64 images a step")
  channels = [3, 16, 32, 64, 64, 128, 128, 128, 128]
  sizes = [9 * one * two + two for one, two in itertools.pairwise(channels)]
  sizes += [128 * 1024 + 1024, 1024 * 1024 + 1024, 1024 * 10 + 10]
  assert rows["parameters"] == f"{sum(sizes):,}"
  # Those of all slices; nobody asks for the gradient of the pixels.
  assert rows["multiply-adds"].endswith("0.99 of 3 forward passes")
  mebibytes = f"{4 * (sum(sizes) + 3) / 2**20:.2f} MiB"  # with the mean RGB
  assert rows["weights"] == rows["averages"] == mebibytes
  assert rows["host"].startswith("not needed")


def test_classes_come_from_the_data(tmp_path, capsys):
  data = samples.digits_like(tmp_path / "data")
  rows = planned(capsys, "quickstart", data_dir=str(data), replicas=4)
  assert rows["title"].startswith("VGG, 4 classes")
  assert rows["title"].endswith("divided by 4: 16 on a device")
  variables = 2 * 11
  assert rows["sums"].startswith(f"{variables + 4} over the replicas")


def test_the_largest_batch_is_an_answer(capsys, monkeypatch):
  lowered = []

  class Chips:
    """Devices on which 24 images fit."""

    name, kind, devices = "v5e:2x2", "TPU v5 lite", 4

    def available_bytes(self):
      return 2**34

    def compile(self, hlo, replicas):
      assert replicas == 4
      if lowered[-1] > 24:
        raise tpu_compiler.DoesNotFit("RESOURCE_EXHAUSTED: 20G exceed 16G")
      return tpu_compiler.Compiled(2**33, 2**20, 2**32, 1e12, 0.01, 3, 2**20)

  lower, kept = lowering.lower, []

  def lower_once(take, examples, *rest):
    lowered.append(examples)
    if not kept:
      kept.append(lower(take, examples, *rest))
    return kept[0]

  monkeypatch.setattr(lowering, "lower", lower_once)
  monkeypatch.setattr(tpu_compiler, "Topology", lambda name: Chips())
  rows = planned(capsys, "quickstart", topology="v5e:2x2", largest_batch=True)
  assert rows["memory"] == "8.00 GiB of 16.00 GiB: the step fits"
  assert rows["largest batch"].startswith("96 images, 24 on each device; 32 on each do not fit")
  assert lowered == [16, 32, 24]

  batch = "pipeline.TrainingFeed.batch_size = 256"
  rows = planned(capsys, "quickstart", params=(batch,), topology="v5e:2x2", largest_batch=True)
  assert rows["memory"] == "64 images on a device do not fit: RESOURCE_EXHAUSTED: 20G exceed 16G"
  assert rows["largest batch"].startswith("96 images")


def test_without_a_configuration_it_is_asked_for():
  gin.clear_config()
  with pytest.raises(errors.UsageError, match=r"needs model.*--gin_file=gin/vgg16.gin"):
    plan.run(config)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"largest_batch": True}, "largest_batch needs plan.run.topology"),
    ({"replicas": 3}, "64 cannot be divided equally among 3 replicas"),
    ({"replicas": 0}, "replicas = 0: expected at least 1"),
  ],
)
def test_what_cannot_be_planned_is_a_usage_error(options, message):
  configurations.parse("quickstart")
  with pytest.raises(errors.UsageError, match=message):
    plan.run(config, **options)


def test_a_topology_needs_the_extra(monkeypatch):
  configurations.parse("quickstart")
  monkeypatch.setattr(os, "environ", dict(os.environ))
  monkeypatch.setitem(sys.modules, "jax", None)
  with pytest.raises(errors.EnvironmentFault, match=r"vggtf\[tpu-plan\]"):
    plan.run(config, topology="v5e:2x4")
