"""What a conversion came to, as tables for people."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vggtf.manifest import Manifest


def print_summary(
  console: Console,
  content: Manifest,
  rejected: Sequence[dict[str, str]],
  repaired: Sequence[dict[str, str]],
):
  """Prints what went where: images and bytes of each split and scale, rejects and repairs.

  Args:
    console: where to.
    content: the manifest.
    rejected: the lines of rejected.jsonl.
    repaired: the lines of repaired.jsonl.
  """
  shards = Table("scale", "split", "images", "files", "empty files", "MB", title="Stored")
  for name, files in content.shards.items():
    scale, split = name.split("/")
    empty = sum(not file.records for file in files)
    size = sum(file.bytes for file in files) / 1e6
    shards.add_row(
      scale.removeprefix("scale_"),
      split,
      f"{content.splits[split]:,}",
      str(len(files)),
      str(empty),
      f"{size:,.1f}",
    )
  console.print(shards)
  for title, notes, key in (("Rejected", rejected, "reason"), ("Repaired", repaired, "repair")):
    if notes:
      table = Table(key, "images", "for example", title=title)
      examples = {note[key]: note["id"] for note in reversed(notes)}
      for what, number in sorted(Counter(note[key] for note in notes).items()):
        table.add_row(what, f"{number:,}", Text(examples[what]))  # not markup
      console.print(table)
