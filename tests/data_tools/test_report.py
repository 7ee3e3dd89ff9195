"""The tables hold every number once, and names as they are."""

import io

import pytest
from rich.console import Console

from data_tools import report


@pytest.fixture
def console():
  return Console(file=io.StringIO(), width=120)


def lines(console):
  return [line.replace(" ", "") for line in console.file.getvalue().splitlines()]


def test_summary(converted, read_manifest, console):
  report.print_summary(console, read_manifest(converted))
  found = lines(console)
  assert "│32│train│30│3│0│0.1│" in found
  assert "│40│validation│12│2│0│0.0│" in found
  assert "│train│30│0.0│30│0│0│" in found


def test_notes_are_counted_by_reason_and_kind(console):
  notes = [
    {"id": "train/[red]/x.jpg", "kind": "image", "reason": "empty"},
    {"id": "y", "kind": "image", "reason": "empty"},
    {"id": "z", "kind": "boxes", "reason": "box_dtd"},
  ]
  report.print_notes(console, notes, "reason")
  report.print_notes(console, [{"id": "w", "repair": "from_png"}], "repair")
  found = lines(console)
  assert "│empty│image│2│train/[red]/x.jpg│" in found
  assert "│box_dtd│boxes│1│z│" in found
  assert "│from_png│image│1│w│" in found


def test_no_notes_make_no_table(console):
  report.print_notes(console, [], "reason")
  assert console.file.getvalue() == ""
