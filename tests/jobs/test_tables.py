"""The job that gathers measurements of runs into the paper's tables, and makes those that lack."""

import pathlib
import subprocess

import pytest

from tests.reports import kept as made
from vggtf import errors, workdir
from vggtf.jobs import tables as job
from vggtf.reports import answers, formats, fusion, measurement, tables


def make_run(folder, results=()):
  run = workdir.Workdir(str(folder))
  facts = workdir.RunFacts(("a",), (1.0, 2.0, 3.0), "data", "0", {}, {})
  folder.mkdir()
  run.write_facts(facts)
  if results:
    run.append_results(list(results))
  return str(folder)


def test_the_job_gathers_runs_and_writes_what_the_suffix_says(tmp_path, capsys):
  d = make_run(tmp_path / "d", made.lines([made.net("D", "d")], 0.25, 0.08))
  e = make_run(tmp_path / "e", made.lines([made.net("E", "e")], 0.24, 0.07))
  job.run([d, e])
  printed = capsys.readouterr().out
  assert "25.00 ± 0.19" in printed
  assert "24.00 ± 0.19" in printed
  for suffix, form in formats.OF_SUFFIX.items():
    target = tmp_path / f"tables{suffix}"
    job.run([d, e], str(target))
    assert capsys.readouterr().out == f"{target}\n"
    everything = [line for run in (d, e) for line in workdir.Workdir(run).read_results()]
    assert target.read_text() == form(tables.gather(everything))
  with pytest.raises(errors.UsageError, match=r"suffix of --target = '\.doc' is unknown"):
    job.run([d], str(tmp_path / "tables.doc"))


def test_the_job_needs_runs(tmp_path):
  with pytest.raises(errors.UsageError, match="holds no run"):
    job.run([str(tmp_path)])


def test_runs_without_measurements_have_the_papers_rows_alone(tmp_path, capsys):
  job.run([make_run(tmp_path / "d")])
  assert capsys.readouterr().out == formats.text(tables.gather([]))


def test_the_job_measures_each_run_and_fuses_them_once(tmp_path, monkeypatch, capsys):
  runs = {name: make_run(tmp_path / name) for name in "de"}
  seen = []

  def evaluate(command, **options):
    """Stands for --job=evaluate, which measures what was not measured yet."""
    seen.append(command)
    assert options == {"stdout": subprocess.DEVNULL}  # its numbers are no part of the tables
    folder = pathlib.Path(next(p for p in command if p.startswith("--workdir=")).partition("=")[2])
    nets = [made.net(folder.name.upper(), folder.name, views=made.views("dense"))]
    kept = made.make(ord(folder.name), nets=nets, protocol="dense")
    kept.line["run"] = folder.name
    if not (folder / answers.FOLDER).exists():
      answers.save(folder, kept)
      run = workdir.Workdir(str(folder))
      run.append_results(measurement.lines(kept.line, fusion.means(kept)))
    return subprocess.CompletedProcess(command, 0)

  monkeypatch.setattr(job.subprocess, "run", evaluate)
  for _ in range(2):
    job.run(list(runs.values()), measure=("gin/eval/multi_scale.gin",), data_dir="data")
  assert [c[1:4] for c in seen[:1]] == [["-m", "vggtf.main", "--job=evaluate"]]
  assert len(seen) == 4
  assert all("--data_dir=data" in c and "--gin_file=gin/eval/multi_scale.gin" in c for c in seen)
  lines_ = workdir.Workdir(runs["d"]).read_results()
  assert [line["protocol"] for line in lines_] == ["dense"] * 2 + ["2 nets: dense (d and e)"] * 2
  table6 = capsys.readouterr().out.split("Table 6")[-1].splitlines()
  assert any(line.startswith("D + E ") and "±" in line for line in table6)


@pytest.mark.parametrize(("options", "old"), [("mean of posteriors, flip", False), (None, True)])
def test_the_job_fuses_no_other_and_no_unknown_protocols(tmp_path, monkeypatch, options, old):
  runs = []
  for name, text in (("d", None), ("e", options)):
    looks = [(*one, text) for one in made.views("dense")]
    kept = made.make(ord(name), nets=[made.net(name.upper(), name, views=looks)])
    kept = kept._replace(line=made.forget(kept.line) if old else kept.line)
    runs.append(make_run(tmp_path / name, measurement.lines(kept.line, fusion.means(kept))))
    answers.save(tmp_path / name, kept)
  before = workdir.Workdir(runs[0]).read_results()
  monkeypatch.setattr(job.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
  job.run(runs, measure=("gin/eval/multi_scale.gin",))
  assert workdir.Workdir(runs[0]).read_results() == before


def keep(folder, kept):
  """Adds a measurement, with its answers, to a run; makes the run where there is none."""
  found = measurement.lines(kept.line, fusion.means(kept))
  if folder.exists():
    workdir.Workdir(str(folder)).append_results(found)
  else:
    make_run(folder, found)
  answers.save(folder, kept)


def of_net(name, run=None, count=40, data_sha256="d" * 64, **changes):
  """Returns what a net says at several scales, measured from its own run or another."""
  kept = made.make(ord(name), count, [made.net(name.upper(), name, views=THREE)], **changes)
  line = kept.line | {"run": run or name, "data_sha256": data_sha256}
  del line["details"]
  return kept._replace(line=measurement.named("some", **line))


THREE = made.views("dense")


def test_the_job_fuses_nothing_whose_posteriors_were_not_kept(tmp_path, monkeypatch, caplog):
  keep(tmp_path / "d", of_net("d"))
  keep(tmp_path / "e", of_net("e", posteriors=None))
  runs = [str(tmp_path / name) for name in "de"]
  before = workdir.Workdir(runs[0]).read_results()
  monkeypatch.setattr(job.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
  job.run(runs, measure=("gin/eval/dense.gin",))
  assert workdir.Workdir(runs[0]).read_results() == before
  assert "a protocol is not fused: not all its posteriors were kept" in caplog.text


def test_the_job_fuses_a_run_with_its_own_net(tmp_path, monkeypatch):
  """An evaluation of both nets measured the other's alone, too."""
  for name in "de":
    keep(tmp_path / name, of_net(name))
  keep(tmp_path / "d", of_net("e", run="d"))
  monkeypatch.setattr(job.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
  job.run([str(tmp_path / name) for name in "de"], measure=("gin/eval/dense.gin",))
  fused = workdir.Workdir(str(tmp_path / "d")).read_results()[4:]
  assert [[net["run"] for net in line["nets"]] for line in fused] == [["d", "e"]] * 2


def test_the_job_fuses_what_was_measured_on_the_same_data(tmp_path, monkeypatch):
  for name in "de":
    keep(tmp_path / name, of_net(name))
  keep(tmp_path / "d", of_net("d", count=30, data_sha256="e" * 64))
  monkeypatch.setattr(job.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
  job.run([str(tmp_path / name) for name in "de"], measure=("gin/eval/dense.gin",))
  fused = workdir.Workdir(str(tmp_path / "d")).read_results()[4:]
  assert [(line["count"], line["data_sha256"]) for line in fused] == [(40, "d" * 64)] * 2


def test_the_job_ends_as_an_evaluation_that_fails(tmp_path, monkeypatch):
  failed = subprocess.CompletedProcess([], 6)
  monkeypatch.setattr(job.subprocess, "run", lambda *_, **__: failed)
  with pytest.raises(errors.DivergedError, match=r"multi_scale\.gin of .* ended with 6"):
    job.run([make_run(tmp_path / "d")], measure=("gin/eval/multi_scale.gin",))
