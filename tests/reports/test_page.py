"""The page as a strict reader and a browser find it."""

import dataclasses
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

from tests import samples
from tests.reports import kept as made
from tests.reports import markup
from vggtf import errors, metrics
from vggtf.reports import curves, measurement, overview, page, pictures, tables

HOSTILE = (
  "<script>alert(1)</script>",
  "\"><img src=x onerror='alert(1)'>",
  "</title></style></pre>{{ 7 * 7 }}{% raw %}",
  "&lt; &amp; &nosuch; it's -->",
  "漢字 🐱 עברית \u202ereversed",
  "x" * 300,
)
UNPRINTABLE = "nul \x00 bell \x07 lone \ud800 next \x85"
NETS = [made.net(HOSTILE[0], HOSTILE[1])]


def photo(seed):
  return pictures.photo(samples.paint(seed, 60, 90), 90)


def full() -> page.Report:
  """Returns a report with all parts, whose every name is hostile."""
  kept = made.make(count=60, nets=NETS, protocol=HOSTILE[2])._replace(labels=HOSTILE)
  kept.answers.id[:] = [f"{at} {HOSTILE[at % 6]}".encode() for at in range(60)]
  means = {f"top{k}_error": metrics.Mean(3 * k, 60) for k in (1, 5)}
  points = [(step, 2.0**-step) for step in range(9)]
  mistakes = overview.mistakes(kept, 8)
  return page.Report(
    name=UNPRINTABLE,
    facts=[("data", HOSTILE[1]), *(("class", name) for name in HOSTILE)],
    sittings=[(*HOSTILE, "a", "b")],
    configuration="\n".join((*HOSTILE, "VGG.config = 'D'", "https://example.com")),
    charts=[
      curves.draw(HOSTILE[0], {HOSTILE[1]: points, "validation": points[3:]}),
      curves.draw("loss", {"training": [(1, float("nan")), (2, 0.5)]}),
    ],
    tables=tables.gather(measurement.lines(kept.line, means)),
    evaluation=overview.evaluation(kept)._replace(left_out=(3, 4)),
    data=None,
    mistakes=[one._replace(picture=photo(at)) for at, one in enumerate(mistakes)],
    heat_maps=[
      page.HeatMap(name, name, page.Answer(0, name, 0.5), photo(0), photo(1), 0.1, 0.9, 448)
      for name in HOSTILE
    ],
    filters=pictures.filters(np.random.RandomState(0).normal(size=(3, 3, 3, 64))),
  )


def empty() -> page.Report:
  """Returns a report that lacks all that can be absent, each for a hostile reason."""
  parts = {field.name: page.Absent(HOSTILE[0]) for field in dataclasses.fields(page.Report)}
  return page.Report(**parts | {"name": "run", "facts": [], "tables": tables.gather([])})


@pytest.fixture(scope="module")
def whole() -> str:
  return page.render(full())


def test_it_is_valid_and_stands_alone(whole):
  read = markup.Page(whole)
  assert read.problems == []
  assert not {"script", "iframe", "object", "base"} & {tag for tag, _ in read.elements}
  links = [one["href"] for tag, one in read.elements if tag == "a"]
  assert len(links) == sum(tag == "section" for tag, _ in read.elements)  # none leads nowhere
  # No attribute and no style leads to a network, whatever texts say, and a browser would refuse.
  tags = "".join(re.findall(r"<[^>]*>", whole)) + whole.partition("</style>")[0]
  assert "//" not in re.sub(r"data:image/\w+;base64,[\w+/=]*", "", tags.replace("&lt;/", ""))
  assert "default-src 'none'" in whole


def test_names_are_text_wherever_they_stand(whole):
  text = "".join(markup.Page(whole).texts)
  for name in HOSTILE:
    assert text.count(name) >= 8  # facts, classes, configuration, maps ...
  assert "nul \ufffd bell \ufffd lone \ufffd next \ufffd" in text
  assert whole.encode()


def test_what_is_absent_is_said():
  text = page.render(empty())
  read = markup.Page(text)
  assert read.problems == []
  absent = sum(attributes.get("class") == "absent" for _, attributes in read.elements)
  assert absent == "".join(read.texts).count(HOSTILE[0]) == 7
  assert not any(tag == "img" for tag, _ in read.elements)


def test_mistakes_without_pictures_and_without_mistakes():
  report = full()
  bare = [one._replace(picture=None) for one in report.mistakes]
  reason = page.Absent("the disk is not here")
  text = page.render(dataclasses.replace(report, mistakes=bare, data=reason, heat_maps=reason))
  assert markup.Page(text).problems == []
  assert text.count("the disk is not here") == 2
  none = page.render(dataclasses.replace(report, mistakes=[], heat_maps=[]))
  assert markup.Page(none).problems == []
  assert "No image was taken for another class" in none


def test_our_rows_of_the_tables_are_marked(whole):
  rows = re.findall(r'<tr class="ours">(.*?)</tr>', whole)
  assert len(rows) == 1
  assert "5.00 ± 2.81" in rows[0]  # 3 of 60, sqrt(p (1 - p) / n)


def test_the_package_that_is_missing_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "jinja2", None)
  with pytest.raises(errors.EnvironmentFault, match=r"pip install 'vggtf\[report\]'"):
    page.check_installed()


@pytest.mark.parametrize("made_wrong", [
  "<p><div></div></p>", "<b>x", "</p>", "<p>a & b</p>", "<table><tr></tr></table>", "<br/>",
  "<img src='x.png' alt='x'>", "<a href='https://a.b'>x</a>", "<p id='a' id='b'></p>",
  "<img src='data:,'>", "<p onclick='x'></p>", "<p style='x'></p>",
])  # fmt: skip
def test_the_reader_is_strict(made_wrong):
  around = "<!DOCTYPE html><html><head><title>a</title></head><body><main><h1>a</h1>{}</main>{}"
  end = "</body></html>"
  assert markup.Page(around.format("<p>a &amp; b</p>", end)).problems == []
  assert markup.Page(around.format(made_wrong, end)).problems


_PROBE = """<script>
const seen = [innerWidth, document.documentElement.scrollWidth];
for (const image of document.images) seen.push(image.complete && image.naturalWidth > 0);
document.body.setAttribute("data-seen", seen.join(" "));
</script></body>"""


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_overflow(whole, width, tmp_path):
  names = ("chromium", "chromium-browser", "chromium-headless-shell", "google-chrome")
  browser = next(filter(None, map(shutil.which, names)), None)
  if browser is None:
    pytest.skip(f"none of {', '.join(names)} is on PATH")

  def show(text, *options):
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={width},900", f"--user-data-dir={tmp_path}/profile", *options]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, check=True)
    return done.stdout

  show(whole, f"--screenshot={tmp_path}/page.png")
  header = (tmp_path / "page.png").read_bytes()[:24]
  assert header.startswith(b"\x89PNG")
  assert struct.unpack(">II", header[16:]) == (width, 900)
  # The page itself runs no script, so a copy of it does.
  probed = re.sub("<meta http-equiv[^>]*>", "", whole).replace("</body>", _PROBE)
  seen = re.search(r'data-seen="(\d+) (\d+) ([^"]*)"', show(probed, "--dump-dom"))
  assert int(seen[1]) == width
  assert int(seen[2]) <= width
  assert set(seen[3].split()) == {"true"}
