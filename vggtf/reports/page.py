"""A run as one HTML page that needs no other file and no network; page.html says how it looks."""

from __future__ import annotations

import dataclasses
import importlib.resources
import re
from collections.abc import Sequence
from typing import NamedTuple

from vggtf import errors
from vggtf.reports import curves, heat_map, tables

_EXTRA = "vggtf[report]"
_TEMPLATE = "page.html"
# HTML has no such characters, and no escape for them; a lone surrogate has no bytes.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Absent(NamedTuple):
  """Why a part of the page is not there, as a sentence's text."""

  reason: str


class Answer(NamedTuple):
  """A class that a net answered: its number and name, and its posterior, 0 to 1."""

  number: int
  label: str
  probability: float


class Mistake(NamedTuple):
  """An image that was taken for another class: its id and class, the answers, the first one best.

  picture: a data URI, None where the image is not at hand.
  """

  id: str
  label: str
  answers: Sequence[Answer]
  picture: str | None


class HeatMap(NamedTuple):
  """A photo, and over it where a net sees what it answered; data URIs.

  lowest, highest: posteriors of that class over the places. scale: smallest side of what the net
  slid over, pixels.
  """

  id: str
  label: str
  answer: Answer
  photo: str
  overlay: str
  lowest: float
  highest: float
  scale: int


class Evaluation(NamedTuple):
  """Errors of classes, the worst first, and confusions, the most frequent first.

  protocol: what was measured. classes: name, images, top-1 and top-5 error. confusions: class, the
  other that it was taken for, images. left_out: classes and confusions that are not listed.
  """

  protocol: str
  classes: Sequence[tuple[str, int, float, float]]
  confusions: Sequence[tuple[str, str, int]]
  left_out: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Report:
  """What the page tells, each part as it is or why it is absent.

  name: the run's. facts: pairs of a name and a value. sittings: rows under `SITTING`.
  configuration: as gin read it. tables: those of the paper. data: why there are no pictures, if so.
  filters: a data URI.
  """

  name: str
  facts: Sequence[tuple[str, str]]
  sittings: Sequence[Sequence[str]] | Absent
  configuration: str | Absent
  charts: Sequence[curves.Chart] | Absent
  tables: Sequence[tables.Table]
  evaluation: Evaluation | Absent
  data: Absent | None
  mistakes: Sequence[Mistake] | Absent
  heat_maps: Sequence[HeatMap] | Absent
  filters: str | Absent


SITTING = ("began", "from step", "host", "processor", "devices", "processes", "replicas", "version")


def check_installed() -> None:
  """Raises EnvironmentFault where the package that fills the template is missing."""
  try:
    import jinja2  # noqa: F401
  except ImportError as error:
    raise errors.EnvironmentFault(
      f"--job=report fills its page with Jinja2 ({error}): pip install '{_EXTRA}'"
    ) from error


def render(report: Report) -> str:
  """Returns the page. Whatever a text of the report holds, it is text in the page too."""
  import jinja2

  # A mistake in the template is an error, and no gap in the page.
  environment = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
  )
  environment.tests["absent"] = lambda part: isinstance(part, Absent)
  source = importlib.resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
  page = environment.from_string(source).render(
    report=report,
    sitting=SITTING,
    size=(curves.WIDTH, curves.HEIGHT),
    colours=", ".join(f"rgb{colour}" for colour in heat_map.COLOURS),
  )
  return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", page)
