"""What a conversion came to, as tables for people."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vggtf.manifest import Manifest

_TITLES = {"reason": "Not stored", "repair": "Repaired"}


def print_summary(console: Console, content: Manifest):
  """Prints what went in for each split, and what is stored of it at each scale."""
  inputs = Table("split", "images", "MB", "stored", "duplicates", "with boxes", title="Read")
  for split, found in content.inputs.items():
    inputs.add_row(
      split,
      f"{found.images:,}",
      f"{found.bytes / 1e6:,.1f}",
      f"{content.splits[split]:,}",
      f"{found.duplicates:,}",
      f"{found.boxed:,}",
    )
  console.print(inputs)
  shards = Table("scale", "split", "images", "files", "empty files", "MB", title="Stored")
  for name, files in content.shards.items():
    scale, split = name.split("/")
    shards.add_row(
      scale.removeprefix("scale_"),
      split,
      f"{content.splits[split]:,}",
      str(len(files)),
      str(sum(not file.records for file in files)),
      f"{sum(file.bytes for file in files) / 1e6:,.1f}",
    )
  console.print(shards)


def print_notes(console: Console, notes: Sequence[dict[str, str]], key: str):
  """Prints how often each reason, or repair, occurs, and an example of it.

  Args:
    console: where to.
    notes: the lines of rejected.jsonl or repaired.jsonl; of none, nothing is printed.
    key: "reason" or "repair".
  """
  if not notes:
    return
  table = Table(key, "of", "number", "for example", title=_TITLES[key])
  found = [(note[key], note.get("kind", "image"), note["id"]) for note in notes]
  examples = {(what, kind): id_ for what, kind, id_ in reversed(found)}
  for (what, kind), number in sorted(Counter((what, kind) for what, kind, _ in found).items()):
    table.add_row(what, kind, f"{number:,}", Text(examples[what, kind]))  # not markup
  console.print(table)
