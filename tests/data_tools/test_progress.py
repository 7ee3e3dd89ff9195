"""Progress counts images, whoever has done them, and guesses the time left from the new ones."""

import os
import time

from data_tools import progress


def test_lines_say_how_far_and_how_long(tmp_path):
  folder = str(tmp_path)
  assert progress.describe(folder, 3) == "convert: listing, 3 s"
  progress.announce_total(folder, 1200)
  assert progress.describe(folder, 4) == "convert: 0 of 1,200 images, 4 s"
  tallies = [progress.Tally(folder, f"train-{at}") for at in range(2)]
  for _ in range(100):
    tallies[0].count()
  tallies[1].reuse(500)
  assert progress.describe(folder, 10) == (
    "convert: 600 of 1,200 images, 10 s, 10.0 images/s, about 60 s left"
  )
  assert progress.describe(folder, 1000) == (
    "convert: 600 of 1,200 images, 1000 s, 0.1 images/s, about 100 min left"
  )
  assert progress.describe(folder, 2500).endswith("about 4 h 10 min left")


def test_second_attempt_at_a_shard_counts_once(tmp_path):
  progress.announce_total(str(tmp_path), 10)
  for _ in range(2):
    tally = progress.Tally(str(tmp_path), "train-0")
    tally.count()
    tally.close()
  assert "1 of 10 images" in progress.describe(str(tmp_path), 1)


def test_lines_appear_and_files_go(tmp_path, capsys):
  progress.announce_total(str(tmp_path), 10)
  with progress.report_progress(str(tmp_path), interval=0.02):
    time.sleep(0.1)
  assert capsys.readouterr().err.splitlines()[0] == "convert: 0 of 10 images, 0 s"
  assert os.listdir(tmp_path) == []


def test_nothing_is_said_in_a_short_run(tmp_path, capsys):
  with progress.report_progress(str(tmp_path)):
    pass
  assert capsys.readouterr().err == ""


def test_buckets_are_left_alone(capsys):
  tally = progress.Tally("bucket://data/set", "train-0")
  tally.count()
  tally.close()
  progress.announce_total("bucket://data/set", 3)
  with progress.report_progress("bucket://data/set", interval=0.001):
    time.sleep(0.01)
  assert capsys.readouterr().err == ""
