"""Checks a converted data set against its manifest, record by record.

Sizes, digests and checksums of all files; keys, labels, sizes and order of all records; a sample of
the images decoded. Prints a table and every problem; exit code 4 if there is one.

  python -m data_tools.verify --input=OUT [--decode=all]
"""

import sys
from collections.abc import Sequence

from data_tools import flags, storage
from vggtf import errors


def cli() -> int:
  """Runs the command line in sys.argv; returns the exit code (vggtf/errors.py)."""
  return errors.run_command(main)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line.

  Args:
    arguments: without the program's name; those of the process by default.

  Returns:
    The exit code, 0.

  Raises:
    IntegrityError: something is wrong with the data set; all of it has been printed.
    UsageError: a flag is wrong.
  """
  parser = flags.Parser("data_tools.verify", __doc__)
  parser.add_argument("--input", required=True, metavar="OUT", help="what data_tools.convert wrote")
  parser.add_argument(
    "--decode",
    default="4",
    metavar="N|all",
    help="images to decode of each shard (default %(default)s); all also checks the statistics",
  )
  parsed = parser.parse_all(arguments)
  decode = _parse_decode(parsed.decode)
  folder = storage.absolute(parsed.input)
  if not storage.is_folder(folder):
    raise errors.UsageError(f"--input={parsed.input}: no such folder")
  problems = _print_findings(folder, decode)
  if problems:
    raise errors.IntegrityError(f"{len(problems)} problems in {folder}, the first: {problems[0]}")
  return 0


def _print_findings(folder: str, decode: int | None) -> list:
  from rich.table import Table
  from rich.text import Text

  from data_tools import inspection
  from data_tools.console import Patient

  table = Table("part", "files", "images", "MB", "decoded", "problems", title=Text(folder))
  problems = []
  for section in inspection.inspect(folder, decode):
    problems += section.problems
    table.add_row(
      section.name,
      str(section.files),
      f"{section.records:,}",
      f"{section.bytes / 1e6:,.1f}",
      f"{section.decoded:,}",
      str(len(section.problems)),
    )
  console = Patient()
  console.print(table)
  for problem in problems:
    console.print(Text(str(problem)), soft_wrap=True)
  return problems


def _parse_decode(text: str) -> int | None:
  if text == "all":
    return None
  if not text.isdecimal():
    raise errors.UsageError(f"--decode: got {text!r}, expected a number of images, or all")
  return int(text)


if __name__ == "__main__":
  sys.exit(cli())
