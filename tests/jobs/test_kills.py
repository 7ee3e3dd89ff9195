"""P1: kill -9 at any moment, inside saves too; the final bits are those of a run left alone."""

import contextlib
import os
import random
import subprocess
import time

import pytest

from tests import commands, samples
from vggtf import workdir
from vggtf.training import checkpoint, restoring

KILLS = 20
FLAGS = (
  "--gin_file=gin/quickstart.gin",
  "--gin_file=gin/with/ema.gin",
  "--gin_param=vgg.VGG.width = 0.05",
  "--gin_param=TrainingFeed.batch_size = 8",
  "--gin_param=train.run.steps = 1000",
  "--gin_param=train.run.evaluate_every = 250",
  "--gin_param=train.run.checkpoint_every = 3",
)


def flags(data_dir, folder):
  return [*FLAGS, f"--data_dir={data_dir}", f"--workdir={folder}"]


def newest(folder) -> int:
  names = [path.name for path in (folder / "checkpoints").glob("step-*")]
  return max((int(name.removeprefix("step-")) for name in names), default=-1)


def kill(data_dir, folder, saves: int, seconds: float) -> bool:
  """Kills a sitting so long after so many saves of its own; returns whether it was saving then."""
  first = newest(folder)
  process = commands.start(
    "vggtf.main",
    *flags(data_dir, folder),
    env=os.environ | {"PYTHONPATH": str(commands.ROOT)},
  )
  said = []
  while not said or "training from step" not in said[-1]:
    said.append(process.stderr.readline())
    assert said[-1], said
  while newest(folder) < first + 3 * saves:
    assert process.poll() is None, process.communicate()
    time.sleep(0.002)
  with contextlib.suppress(subprocess.TimeoutExpired):
    process.wait(seconds)
  process.kill()
  _, rest = process.communicate()
  assert process.returncode == -9, (said, rest)
  return any((folder / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_change_no_bit(tmp_path):
  data_dir = samples.digits_like(tmp_path / "data")
  alone, killed = tmp_path / "alone", tmp_path / "killed"
  commands.run("vggtf.main", *flags(data_dir, alone))
  moments = random.Random(0)
  inside = sum(
    kill(data_dir, killed, moments.randrange(4), moments.uniform(0, 0.3)) for _ in range(KILLS)
  )
  left = checkpoint.Checkpoints(killed / "checkpoints").find("latest")
  print(f"{KILLS} kills, {inside} of them inside a save; the last left step {left}")
  assert 0 < left < 1000
  commands.run("vggtf.main", *flags(data_dir, killed))

  sums = [
    restoring.digest(checkpoint.Checkpoints(folder / "checkpoints").prefix(1000))
    for folder in (alone, killed)
  ]
  print(*sums)
  assert sums[0] == sums[1]
  measured = [
    {(line["step"], line["metric"]): line["value"] for line in results(folder)}
    for folder in (alone, killed)
  ]
  assert len(measured[0]) == 8
  assert measured[0] == measured[1]
  assert len(workdir.Workdir(str(killed)).read_description()["sittings"]) == KILLS + 1
  assert not list((killed / "checkpoints").glob(".*"))


def results(folder):
  return workdir.Workdir(str(folder)).read_results()
