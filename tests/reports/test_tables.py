"""The paper's tables with measurements beside them, and the forms that they are written in."""

import csv
import io
import json
import math
import pathlib
import subprocess

import pytest

from tests.reports import kept as made
from vggtf import errors, metrics, workdir
from vggtf.jobs import tables as job
from vggtf.reports import answers, formats, fusion, measurement, paper, tables

SEVERAL = (256, 384, 512)


def views(*techniques, scales=SEVERAL):
  return [(name, scale) for name in techniques for scale in scales]


def lines(nets, top1, top5, count=50_000, run="run_d", protocol="dense, flip"):
  means = {
    "top1_error": metrics.Mean(top1 * count, count),
    "top5_error": metrics.Mean(top5 * count, count),
  }
  return measurement.lines(made.describe(nets, protocol, run), means)


def row(found, number, *start):
  """Returns the cells of the row of a table that begins so, without its first four."""
  (table,) = [one for one in found if one.title.startswith(f"Table {number}")]
  (cells,) = [cells for cells in table.rows if cells[: len(start)] == start]
  return cells[4:]


def test_the_papers_tables_agree_with_one_another():
  assert [len(t) for t in (paper.TABLE_3, paper.TABLE_4, paper.TABLE_5, paper.TABLE_6)] == [
    12, 10, 6, 4,
  ]  # fmt: skip
  single = {(r.nets[0].net, r.nets[0].trained_at): r for r in paper.TABLE_3}
  for several in paper.TABLE_4:  # section 4.2: scale jittering at test time helps
    one = single[several.nets[0].net, several.nets[0].trained_at]
    assert (several.top1, several.top5) <= (one.top1, one.top5)
  dense = [r for r in paper.TABLE_5 if r.nets[0].techniques == ("dense",)]
  assert all(r in paper.TABLE_4 for r in dense)
  best = min(paper.TABLE_6, key=lambda r: r.top1)
  assert (best.top1, best.top5, best.test_top5) == (23.7, 6.8, 6.8)
  assert [net.net for net in best.nets] == ["D", "E"]
  assert len(paper.TABLE_6[0].nets) == 7


def test_measurements_stand_beside_the_papers_rows():
  d, e = (made.net(letter, letter, views=views("dense")) for letter in "DE")
  both = [net | {"views": views("dense", "multi_crop")} for net in (d, e)]
  found = tables.gather(
    [
      *lines([d | {"views": [["dense", 384]]}], 0.2567, 0.0812),
      *lines([d], 0.2481, 0.0755),
      *lines([e], 0.2482, 0.0756),
      *lines(both[:1], 0.244, 0.072),
      *lines(both, 0.237, 0.068),
    ]
  )
  error = 100 * math.sqrt(0.2567 * (1 - 0.2567) / 50_000)
  assert row(found, 3, "D", "[256;512]", "384", "dense") == (
    "25.6",
    "8.1",
    f"25.67 ± {error:.2f}",
    "8.12 ± 0.12",
    "validation, 50,000 images of dddddddd",
    "D step 10",
  )
  assert row(found, 4, "E", "[256;512]", "256,384,512")[2].startswith("24.82 ± ")
  assert row(found, 5, "E", "[256;512]", "256,384,512", "dense")[2].startswith("24.82 ± ")
  combined = row(found, 5, "D", "[256;512]", "256,384,512", "dense & multi-crop")
  assert combined[:3] == ("24.4", "7.2", "24.40 ± 0.19")
  fused = row(found, 6, "D + E", "[256;512]", "256,384,512", "dense & multi-crop")
  assert fused[:3] == ("23.7", "6.8 (6.8)", "23.70 ± 0.19")
  assert fused[-1] == "D step 10 + E step 10"
  # All others are there without ours, and no table has more rows than the paper's.
  assert [len(table.rows) for table in found] == [12, 10, 6, 4]
  assert row(found, 3, "A", "256", "256", "dense") == ("29.6", "10.4", "-", "-", "-", "-")


def test_what_did_without_the_mirror_image_says_so():
  net = made.net("D", "d", (256, 256), [("dense", 256)])
  found = tables.gather(lines([net], 0.3, 0.1, protocol="dense Q=256, mean of scores"))
  assert row(found, 3, "D", "256", "256")[4] == "validation, 50,000 images of dddddddd, no flip"


def test_seven_nets_are_the_submission_in_any_order():
  submitted = [("D", 256), ("D", 384), ("C", 256), ("C", 384), ("E", 384), ("E", 256)]
  nets = [
    made.net(letter, f"{letter}{s}", (s, s), [("dense", q) for q in (s - 32, s, s + 32)])
    for letter, s in submitted
  ]
  nets.append(made.net("D", "jittered", views=views("dense")))
  found = tables.gather(lines(nets, 0.25, 0.08))
  (_, _, table6) = found[1:]
  assert table6.rows[0][6].startswith("25.00 ± ")
  assert len(table6.rows) == 4


def test_what_the_paper_does_not_have_follows_its_rows():
  small = made.net("A, width 0.25", "digits", (32, 40), [("dense", 32)])
  centre = made.net("D", "d", views=[("centre", 256)])
  unknown = made.net("D", "d", None, views("dense"))
  partial = made.net("D", "d", views=[("dense", 256), ("multi_crop", 384)])
  measured = (small, centre, unknown, partial)
  found = tables.gather([line for one in measured for line in lines([one], 0.01, 0.0, 355)])
  assert row(found, 3, "A, width 0.25")[:3] == ("-", "-", "1.00 ± 0.53")
  assert row(found, 4, "D", "?", "256,384,512")[:3] == ("-", "-", "1.00 ± 0.53")
  other = found[-1]
  assert other.title == "Other protocols"
  assert sorted(cells[3] for cells in other.rows) == ["centre", "dense at 256 & multi crop at 384"]


def test_of_equal_measurements_the_last_counts():
  net = made.net("D", "d")
  found = tables.gather([*lines([net], 0.3, 0.1), *lines([net], 0.2, 0.1)])
  assert row(found, 3, "D", "[256;512]", "384")[2].startswith("20.00")


@pytest.fixture
def found():
  odd = made.net("100 % {A}_b & c|d", "run_~1", (256, 256), [("dense", 256)])
  return tables.gather(lines([odd], 0.25, 0.0625))


def test_csv_and_json_give_the_cells_back(found):
  rows = list(csv.reader(io.StringIO(formats.comma_separated(found))))
  assert tuple(rows[0]) == ("table", *found[0].columns)
  expected = [(table.title, *cells) for table in found for cells in table.rows]
  assert [tuple(cells) for cells in rows[1:]] == expected
  data = json.loads(formats.as_json(found))
  assert [[tuple(cells) for cells in table["rows"]] for table in data] == [
    list(table.rows) for table in found
  ]


def test_markdown_has_a_cell_for_each_column(found):
  text = formats.markdown(found)
  rows = [line for line in text.splitlines() if line.startswith("|")]
  assert len(rows) == sum(len(table.rows) + 2 for table in found)
  for line in rows:
    assert line.replace(r"\|", "").count("|") == len(found[0].columns) + 1
  assert r"100 % {A}\_b & c\|d" in text


def test_latex_is_balanced_and_escaped(found):
  text = formats.latex(found)
  assert r"100 \% \{A\}\_b \& c|d" in text
  assert r"run\_\textasciitilde{}1 step 10" in text
  assert r"25.00 $\pm$ 0.19" in text
  plain = text.replace(r"\{", "").replace(r"\}", "")
  assert plain.count("{") == plain.count("}")
  assert text.count(r"\begin{") == text.count(r"\end{") == 2 * len(found)
  for line in text.splitlines():
    if line.endswith(r"\\"):
      assert line.replace(r"\&", "").count("&") == len(found[0].columns) - 1


def test_text_is_aligned(found):
  table = formats.text(found[:1]).splitlines()
  start = table[1].index("paper top-1")
  assert all(line[start - 1] == " " for line in table[3:-1])
  assert table[0] == "Table 3: one net at one scale, dense"


def make_run(folder, results=()):
  run = workdir.Workdir(str(folder))
  facts = workdir.RunFacts(("a",), (1.0, 2.0, 3.0), "data", "0", {}, {})
  folder.mkdir()
  run.write_facts(facts)
  if results:
    run.append_results(list(results))
  return str(folder)


def test_the_job_gathers_runs_and_writes_what_the_suffix_says(tmp_path, capsys):
  d = make_run(tmp_path / "d", lines([made.net("D", "d")], 0.25, 0.08))
  e = make_run(tmp_path / "e", lines([made.net("E", "e")], 0.24, 0.07))
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
    nets = [made.net(folder.name.upper(), folder.name, views=views("dense"))]
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


def test_the_job_ends_as_an_evaluation_that_fails(tmp_path, monkeypatch):
  failed = subprocess.CompletedProcess([], 6)
  monkeypatch.setattr(job.subprocess, "run", lambda *_, **__: failed)
  with pytest.raises(errors.DivergedError, match=r"multi_scale\.gin of .* ended with 6"):
    job.run([make_run(tmp_path / "d")], measure=("gin/eval/multi_scale.gin",))
