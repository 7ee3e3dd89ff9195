import pathlib
import subprocess
import sys

import pytest

from vggtf import errors, metrics, results, workdir
from vggtf.reports import summary

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
  """Returns a run that was trained, evaluated and exported, in part twice."""
  folder = workdir.Workdir(str(tmp_path / "run"))
  facts = workdir.RunFacts(
    labels=("a", "b"),
    mean_rgb=(1.0, 2.0, 3.0),
    data_dir="data",
    manifest_sha256="0",
    splits={"train": 1_281_167, "validation": 50_000},
    rejected={"empty": 2, "truncated": 3},
  )
  folder.write_facts(facts)

  def measure(job, step, protocol, top1, top5, count=50_000):
    means = {
      "top1_error": metrics.Mean(top1 * count, count),
      "top5_error": metrics.Mean(top5 * count, count),
    }
    folder.append_results(results.lines(job, folder.name, step, protocol, means))

  measure("train", 5000, "centre 224 of 256", 0.9, 0.8)
  measure("train", 10_000, "centre 224 of 256", 0.5, 0.4)
  measure("evaluate", 10_000, "dense Q=256", 0.25, 0.125)
  measure("evaluate", 10_000, "dense Q=384", 0.375, 0.0625, count=8)
  measure("evaluate", 10_000, "dense Q=256", 0.2, 0.1)
  for version in ("dense/10000", "centre/5000", "centre/.writing-7"):
    (folder.export / version).mkdir(parents=True)
  return folder


def test_rows_hold_the_newest_numbers(run):
  assert summary.of_run(run) == [
    ("converted", "1,281,167 train, 50,000 validation images; 5 rejected"),
    ("trained", "10,000 steps"),
    ("- top-1 error", "50.00% of 50,000 images (centre 224 of 256)"),
    ("- top-5 error", "40.00% of 50,000 images (centre 224 of 256)"),
    ("evaluated", "step-00010000 on unknown data"),  # of an earlier version
    ("- top-1 error", "37.50% of 8 images (dense Q=384)"),
    ("- top-5 error", "6.25% of 8 images (dense Q=384)"),
    ("- top-1 error", "20.00% of 50,000 images (dense Q=256)"),
    ("- top-5 error", "10.00% of 50,000 images (dense Q=256)"),
    ("SavedModel", str(run.export / "centre" / "5000")),
    ("SavedModel", str(run.export / "dense" / "10000")),
    ("TensorBoard", f"tensorboard --logdir {run.logs}"),
    ("results", str(run.results)),
  ]


def test_checkpoints_splits_and_data_sets_stay_apart(run):
  run.results.unlink()
  for step, protocol, top1, split, data in (
    (100, "centre", 0.5, "validation", "a"),
    (100, "dense", 0.4, "validation", "a"),
    (200, "centre", 0.3, "validation", "a"),
    (200, "centre", 0.01, "train", "a"),
    (200, "centre", 0.2, "validation", "b"),
  ):
    means = {"top1_error": metrics.Mean(top1 * 1000, 1000)}
    of_data = {"split": split, "data_sha256": data * 64}
    found = results.lines("evaluate", run.name, step, protocol, means)
    run.append_results([line | of_data for line in found])
  assert [row for row in summary.of_run(run) if row[0] in ("evaluated", "- top-1 error")] == [
    ("evaluated", "step-00000100 on validation of aaaaaaaa"),
    ("- top-1 error", "40.00% of 1,000 images (dense)"),
    ("evaluated", "step-00000200 on validation of aaaaaaaa"),
    ("- top-1 error", "30.00% of 1,000 images (centre)"),
    ("evaluated", "step-00000200 on train of aaaaaaaa"),
    ("- top-1 error", "1.00% of 1,000 images (centre)"),
    ("evaluated", "step-00000200 on validation of bbbbbbbb"),
    ("- top-1 error", "20.00% of 1,000 images (centre)"),
  ]


def test_a_protocol_that_training_left_keeps_its_step(run):
  means = {"top1_error": metrics.Mean(1, 4)}
  run.append_results(results.lines("train", run.name, 20_000, "dense", means))
  assert summary.of_run(run)[1:6] == [
    ("trained", "10,000 steps"),
    ("- top-1 error", "50.00% of 50,000 images (centre 224 of 256)"),
    ("- top-5 error", "40.00% of 50,000 images (centre 224 of 256)"),
    ("trained", "20,000 steps"),
    ("- top-1 error", "25.00% of 4 images (dense)"),
  ]


def test_a_line_cut_short_by_a_crash_is_passed_over(run):
  expected = summary.of_run(run)
  with open(run.results, "a") as file:
    file.write('{"job": "evaluate", "prot')
  assert summary.of_run(run) == expected


def test_a_run_without_results_has_none(run):
  run.results.unlink()
  assert [name for name, _ in summary.of_run(run)] == [
    "converted",
    "SavedModel",
    "SavedModel",
    "TensorBoard",
    "results",
  ]


def test_weights_from_elsewhere_were_converted_from_nothing(tmp_path):
  folder = workdir.Workdir(str(tmp_path))
  folder.write_facts(workdir.RunFacts(("a", "b"), (1.0, 2.0, 3.0), "", "", {}, {}))
  assert [name for name, _ in summary.of_run(folder)] == ["TensorBoard", "results"]


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(errors.UsageError, match="holds no run"):
    summary.of_run(workdir.Workdir(str(tmp_path)))


def test_the_job_prints_it_without_tensorflow(run):
  program = (
    "import sys; from vggtf.jobs import summary; summary.run(sys.argv[1]);"
    "assert 'tensorflow' not in sys.modules"
  )
  done = subprocess.run(
    [sys.executable, "-c", program, str(run.path)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  lines = done.stdout.splitlines()
  assert len(lines) == len(summary.of_run(run))
  for line, (name, value) in zip(lines, summary.of_run(run), strict=True):
    assert line.startswith(name)
    assert line.endswith(f" {value}")
