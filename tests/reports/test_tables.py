"""The paper's tables with measurements beside them, and the forms that they are written in."""

import csv
import io
import json
import math

import pytest

from tests.reports import kept as made
from vggtf import metrics
from vggtf.reports import formats, fusion, measurement, paper, tables


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
  d, e = (made.net(letter, letter, views=made.views("dense")) for letter in "DE")
  both = [made.net(letter, letter, views=made.views("dense", "multi_crop")) for letter in "DE"]
  found = tables.gather(
    [
      *made.lines([made.net("D", "D")], 0.2567, 0.0812),
      *made.lines([d], 0.2481, 0.0755),
      *made.lines([e], 0.2482, 0.0756),
      *made.lines(both[:1], 0.244, 0.072),
      *made.lines(both, 0.237, 0.068),
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


THREE = made.views("dense")
FIFTY = made.views("multi_crop")
HALF = [*THREE, *((*one, "5x5") for one in FIFTY)]  # crops without their mirror images
TWICE = [*THREE, ("dense", 384), ("dense", 384), ("dense", 384)]  # as a mean with dense at 384


@pytest.mark.parametrize(
  ("number", "looks", "other"),
  [
    (3, [("dense", 384, "mean of posteriors, flip")], "dense: mean of posteriors, flip"),
    (3, [("dense", 384, "mean of scores")], "dense: mean of scores"),
    (3, [("dense", 384), ("dense", 384, "mean of scores")], "dense: mean of scores"),
    (4, TWICE, "weights from 1/6 to 2/3"),
    (5, TWICE, "weights from 1/6 to 2/3"),
    (5, [(*one, "2x2, flip") for one in FIFTY], "multi-crop: 2x2, flip"),
    (5, HALF, "multi-crop: 5x5"),
  ],
)
def test_other_options_and_weights_stand_below_and_say_so(number, looks, other):
  found = tables.gather(made.lines([made.net("D", "d", views=looks)], 0.3, 0.1))
  (table,) = [one for one in found if one.title.startswith(f"Table {number}")]
  papers, ours = table.rows[:-1], table.rows[-1]
  assert {cells[6:] for cells in papers} == {("-",) * 4}
  assert ours[:4] in {cells[:4] for cells in papers}
  assert ours[4:7] == ("-", "-", "30.00 ± 0.20")
  assert ours[8] == f"validation, 50,000 images of dddddddd; {other}"
  assert "(dense: mean of scores, flip; multi-crop: 5x5, flip; all of one weight)." in table.note


def test_nets_of_unequal_weight_stand_below():
  d, e = (made.describe([made.net(name, name, views=THREE)]) for name in "DE")
  means = {f"top{k}_error": metrics.Mean(1, 4) for k in (1, 5)}
  fused = [fusion.describe(nets) for nets in ([d, e], [d, d, d, e])]
  found = tables.gather([line for one in fused for line in measurement.lines(one, means)])
  paired = [cells[8] for cells in found[3].rows if cells[0] == "D + E" and cells[6] != "-"]
  plain = "validation, 4 images of dddddddd"
  assert paired == [plain, f"{plain}; weights from 1/12 to 1/4"]


def test_what_an_earlier_version_measured_stands_below():
  net = made.net("D", "d", views=THREE)
  found = tables.gather(map(made.forget, made.lines([net], 0.3, 0.1)))
  for table in found[1:3]:
    assert [cells[6] for cells in table.rows if cells[6] != "-"] == ["30.00 ± 0.20"]
    assert table.rows[-1][8].endswith(" of dddddddd; options or weights unknown")


def test_seven_nets_are_the_submission_in_any_order():
  submitted = [("D", 256), ("D", 384), ("C", 256), ("C", 384), ("E", 384), ("E", 256)]
  nets = [
    made.net(letter, f"{letter}{s}", (s, s), [("dense", q) for q in (s - 32, s, s + 32)])
    for letter, s in submitted
  ]
  nets.append(made.net("D", "jittered", views=made.views("dense")))
  found = tables.gather(made.lines(nets, 0.25, 0.08))
  (_, _, table6) = found[1:]
  assert table6.rows[0][6].startswith("25.00 ± ")
  assert len(table6.rows) == 4


def test_what_the_paper_does_not_have_follows_its_rows():
  small = made.net("A, width 0.25", "digits", (32, 40), [("dense", 32)])
  centre = made.net("D", "d", views=[("centre", 256)])
  unknown = made.net("D", "d", None, made.views("dense"))
  partial = made.net("D", "d", views=[("dense", 256), ("multi_crop", 384)])
  measured = (small, centre, unknown, partial)
  found = tables.gather([line for one in measured for line in made.lines([one], 0.01, 0.0, 355)])
  assert row(found, 3, "A, width 0.25")[:3] == ("-", "-", "1.00 ± 0.53")
  assert row(found, 4, "D", "?", "256,384,512")[:3] == ("-", "-", "1.00 ± 0.53")
  other = found[-1]
  assert other.title == "Other protocols"
  assert sorted(cells[3] for cells in other.rows) == ["centre", "dense at 256 & multi crop at 384"]


def test_of_equal_measurements_the_last_counts():
  net = made.net("D", "d")
  found = tables.gather([*made.lines([net], 0.3, 0.1), *made.lines([net], 0.2, 0.1)])
  assert row(found, 3, "D", "[256;512]", "384")[2].startswith("20.00")


@pytest.fixture
def found():
  odd = made.net("100 % {A}_b & c|d", "run_~1", (256, 256), [("dense", 256)])
  return tables.gather(made.lines([odd], 0.25, 0.0625))


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
