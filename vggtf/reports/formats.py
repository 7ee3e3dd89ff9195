"""Tables as text, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterable

from vggtf.reports.tables import Table


def text(tables: Iterable[Table]) -> str:
  """Returns aligned columns, never wrapped."""
  return "\n".join(_text(table) for table in tables)


def markdown(tables: Iterable[Table]) -> str:
  """Returns pipe tables, each under a heading."""
  return "\n".join(_markdown(table) for table in tables)


def latex(tables: Iterable[Table]) -> str:
  """Returns a table environment each, for packages of LaTeX's own alone."""
  return "\n".join(_latex(table) for table in tables)


def comma_separated(tables: Iterable[Table]) -> str:
  """Returns one sheet: a column with the table's title, then its own."""
  sheet = io.StringIO()
  writer = csv.writer(sheet, lineterminator="\n")
  for number, table in enumerate(tables):
    if not number:
      writer.writerow(("table", *table.columns))
    writer.writerows((table.title, *row) for row in table.rows)
  return sheet.getvalue()


def as_json(tables: Iterable[Table]) -> str:
  """Returns a list of objects: title, columns, rows, note."""
  return json.dumps([dataclasses.asdict(table) for table in tables], indent=1) + "\n"


OF_SUFFIX: dict[str, Callable[[Iterable[Table]], str]] = {
  ".txt": text,
  ".md": markdown,
  ".tex": latex,
  ".csv": comma_separated,
  ".json": as_json,
}


def _text(table: Table) -> str:
  rows = [table.columns, *table.rows]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for row in rows
  ]
  return "\n".join([table.title, lines[0], "-" * len(lines[0]), *lines[1:], table.note, ""])


def _markdown(table: Table) -> str:
  rows = [table.columns, ("---",) * len(table.columns), *table.rows]
  lines = ["| " + " | ".join(_escape_markdown(cell) for cell in row) + " |" for row in rows]
  return "\n".join([f"### {table.title}", "", *lines, "", table.note, ""])


def _latex(table: Table) -> str:
  rows = [
    " & ".join(_escape_latex(cell) for cell in row) + r" \\" for row in (table.columns, *table.rows)
  ]
  return "\n".join(
    [
      r"\begin{table}",
      rf"\caption{{{_escape_latex(table.title)}. {_escape_latex(table.note)}}}",
      r"\begin{tabular}{" + "l" * len(table.columns) + "}",
      r"\hline",
      rows[0],
      r"\hline",
      *rows[1:],
      r"\hline",
      r"\end{tabular}",
      r"\end{table}",
      "",
    ]
  )


def _escape_markdown(cell: str) -> str:
  return re.sub(r"([\\|*_`<\[\]])", r"\\\1", cell) if cell != "---" else cell


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
  sign: f"\\{sign}" for sign in "&%$#_{}"
}


def _escape_latex(cell: str) -> str:
  return "".join(_LATEX.get(sign, sign) for sign in cell).replace("±", r"$\pm$")
