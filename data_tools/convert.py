r"""Converts images into TFRecord shards, a folder for each scale.

Images are read once, rescaled so that their smallest side is each of --scales, and stored as JPEG.
OUT appears whole or not at all; it holds scale_S/<split>-00000-of-00004, manifest.json, labels.txt,
rejected.jsonl (every input that is in no shard, and why) and repaired.jsonl. The same input and
options give the same bytes on any runner, with any number of workers.

  python -m data_tools.convert --source=folder --input=DIR --output=OUT \
    --scales=32,40,48 --shards=train=4,validation=2 --validation_fraction=0.2

All of Beam's options are understood too, for example
  --direct_num_workers=8 --direct_running_mode=multi_processing
"""

import contextlib
import os
import sys
from collections.abc import Sequence

from data_tools import flags, source
from data_tools.options import Options, parse_scales, parse_shards
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
    VggtfError: as the error says; nothing is published then.
  """
  given = list(sys.argv[1:] if arguments is None else arguments)
  module = source.find_module(_peek_source(given))
  parser = _make_parser()
  module.add_flags(parser.add_argument_group(f"source {module.__name__.rpartition('.')[2]}"))
  parsed, rest = parser.parse_known_args(given)
  options = Options(
    scales=parse_scales(parsed.scales),
    shards=parse_shards(parsed.shards),
    quality=parsed.quality,
    max_pixels=parsed.max_pixels,
    max_reject_fraction=parsed.max_reject_fraction,
    damaged_jpeg=parsed.damaged_jpeg,
  )
  from data_tools import runner  # Beam takes a second to import: not before --help

  beam_options = runner.parse_options(rest, parser.flag_names())
  opened = module.open_source(parsed)
  output = os.path.abspath(parsed.output)
  _check_splits(opened.splits(), options)
  _check_apart(getattr(parsed, "input", None), output)
  return _convert(opened, options, output, parsed.overwrite, beam_options)


def _convert(opened: source.Source, options: Options, output: str, overwrite: bool, beam_options):
  from rich.console import Console

  from data_tools import pipeline, progress, publication, report, runner
  from data_tools.shard_file import remove_orphans
  from data_tools.staging import stage
  from vggtf import manifest

  classes = opened.classes()
  files = len(options.scales) * sum(number for _, number in options.shards)
  with stage(output, overwrite) as folder:
    with progress.report_progress(folder, files):
      runner.run(beam_options, lambda beam: pipeline.build(beam, opened, classes, options, folder))
    path = os.path.join(folder, manifest.NAME)
    with open(path, encoding="utf-8") as file:
      content = manifest.from_json(file.read(), path)
    rejected = publication.read_notes(folder, publication.REJECTED)
    remove_orphans(folder)
    report.print_summary(
      Console(), content, rejected, publication.read_notes(folder, publication.REPAIRED)
    )
    _check_rejected(len(rejected), content, options, folder, output)
  with contextlib.suppress(FileNotFoundError):
    os.remove(f"{output}.{publication.REJECTED}")  # of an earlier attempt
  print(f"convert: wrote {output}", file=sys.stderr)
  return 0


def _peek_source(arguments: list[str]) -> str:
  """The source decides which further flags there are, and which --help shows."""
  parser = flags.Parser("data_tools.convert", "", add_help=False)
  parser.add_argument("--source", default="folder")
  return parser.parse_known_args(arguments)[0].source


def _make_parser() -> flags.Parser:
  parser = flags.Parser("data_tools.convert", __doc__)
  add = parser.add_argument
  add("--source", default="folder", help="a module of data_tools.sources, or a dotted name")
  add("--output", required=True, metavar="OUT", help="the folder to make")
  add("--scales", default="256,384,512", help="smallest sides in pixels (default %(default)s)")
  add(
    "--shards",
    default="train=1024,validation=128",
    help="files of each split (default %(default)s)",
  )
  add("--quality", type=int, default=Options.quality, help="of the JPEGs (default %(default)s)")
  add(
    "--max_pixels",
    type=int,
    default=Options.max_pixels,
    help="larger images are rejected undecoded (default %(default)s)",
  )
  add(
    "--max_reject_fraction",
    type=float,
    default=Options.max_reject_fraction,
    help="publish nothing if more of the images are rejected (default %(default)s)",
  )
  add(
    "--damaged_jpeg",
    choices=("keep", "reject"),
    default=Options.damaged_jpeg,
    help="JPEGs with a damaged scan that still decode to the end (default %(default)s)",
  )
  add("--overwrite", action="store_true", help="replace OUT, once the new one is complete")
  return parser


def _check_splits(found: Sequence[str], options: Options):
  named = dict(options.shards)
  missing = [split for split in found if split not in named]
  if missing:
    raise errors.UsageError(
      f"--shards names {', '.join(named)}, but the input also has {', '.join(missing)}; add for "
      f"example {missing[0]}=1"
    )
  for split in named:
    if split not in found:
      print(f"convert: the input has no {split} split: its files will be empty", file=sys.stderr)


def _check_apart(given: str | None, output: str):
  if given is None:
    return
  input_, output = os.path.realpath(given), os.path.realpath(output)
  if os.path.commonpath((input_, output)) in (input_, output):
    raise errors.UsageError(
      f"--input={input_} and --output={output} lie in one another; choose a folder beside the input"
    )


def _check_rejected(rejected: int, content, options: Options, folder: str, output: str):
  from data_tools import publication

  listed = rejected + sum(content.splits.values())
  if not listed:
    raise errors.UsageError("--input holds no images; expected files in its class folders")
  if rejected <= options.max_reject_fraction * listed:
    return
  kept = f"{output}.{publication.REJECTED}"
  os.replace(os.path.join(folder, publication.REJECTED), kept)
  reasons = ", ".join(f"{number} {reason}" for reason, number in content.rejected.items())
  raise errors.RejectedInputError(
    f"{rejected} of {listed} images were rejected ({reasons}), more than "
    f"--max_reject_fraction={options.max_reject_fraction} allows; nothing was published. {kept} "
    "names each: mend or remove them, or allow more"
  )


if __name__ == "__main__":
  sys.exit(cli())
