"""The table holds every number once, and names as they are."""

import io

from rich.console import Console

from data_tools import report


def test_summary(converted, read_manifest):
  text = io.StringIO()
  notes = [{"id": "train/[red]/x.jpg", "reason": "empty"}, {"id": "y", "reason": "empty"}]
  content = read_manifest(converted)
  report.print_summary(Console(file=text, width=120), content, notes, [])
  lines = [line.replace(" ", "") for line in text.getvalue().splitlines()]
  assert "│32│train│30│3│0│0.1│" in lines
  assert "│40│validation│12│2│0│0.0│" in lines
  assert "│empty│2│train/[red]/x.jpg│" in lines
  assert "Repaired" not in text.getvalue()
