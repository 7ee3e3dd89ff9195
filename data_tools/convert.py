r"""Converts images into TFRecord shards, a folder for each scale.

Images are read once, rescaled so that their smallest side is each of --scales, and stored as JPEG.
OUT appears whole or not at all; it holds scale_S/<split>-00000-of-00004, manifest.json, labels.txt,
rejected.jsonl (every input that is in no shard, and why) and repaired.jsonl. The same input and
options give the same bytes on any runner, with any number of workers.

  python -m data_tools.convert --source=imagenet --input=DIR --output=OUT
  python -m data_tools.convert --source=folder --input=DIR --output=OUT \
    --scales=32,40,48 --shards=train=4,validation=2 --validation_fraction=0.2

What a broken-off run has finished is kept in OUT.incomplete, and --resume goes on with it: the
input is read again, and the shards whose input has changed are made anew.
Input and output can be gs:// paths. All of Beam's options are understood too, for example
  --direct_num_workers=8 --direct_running_mode=multi_processing
"""

import os
import sys
from collections.abc import Sequence

from data_tools import flags, source, storage
from data_tools.job import Job
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
    shards=parse_shards(_choose_shards(parsed.shards, module)),
    quality=parsed.quality,
    upscale=not parsed.no_upscale,
    max_pixels=parsed.max_pixels,
    max_reject_fraction=parsed.max_reject_fraction,
    damaged_jpeg=parsed.damaged_jpeg,
  )
  from data_tools import runner  # Beam takes a second to import: not before --help

  beam_options = runner.parse_options(rest, parser.flag_names())
  from data_tools import delivery  # imports Beam too, which runner has made quiet

  output = storage.absolute(parsed.output)
  places = {"--input": getattr(parsed, "input", None), "--output": output}
  runner.refuse_local_paths(beam_options, {flag: path for flag, path in places.items() if path})
  opened = module.open_source(parsed)
  _check_splits(opened.splits(), options)
  _check_apart(getattr(parsed, "input", None), output)
  job = Job(opened, tuple(opened.classes()), options, output)
  delivery.deliver(job, beam_options, parsed.overwrite, parsed.resume)
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
  add(
    "--scales",
    default="256,384,512",
    help="smallest sides in pixels, 0 for the original (default %(default)s)",
  )
  add("--shards", metavar="SPLIT=N,...", help="files of each split, as train=1024,validation=128")
  add("--quality", type=int, default=Options.quality, help="of the JPEGs (default %(default)s)")
  add("--no_upscale", action="store_true", help="store images smaller than a scale as they are")
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
  add("--resume", action="store_true", help="go on with what a broken-off run has finished")
  return parser


def _choose_shards(given: str | None, module) -> str:
  chosen = given or getattr(module, "DEFAULT_SHARDS", None)
  if chosen is None:
    raise errors.UsageError(
      "--shards is missing: expected the number of files of each split, as train=4,validation=2, "
      "about one for a thousand images"
    )
  return chosen


def _check_splits(found: Sequence[str], options: Options):
  named = dict(options.shards)
  missing = [split for split in found if split not in named]
  if missing:
    raise errors.UsageError(
      f"--shards names {', '.join(named)}, but the input also has {', '.join(missing)}; add for "
      f"example {missing[0]}=1"
    )
  absent = [split for split in named if split not in found]
  if absent:
    raise errors.UsageError(
      f"--shards names {absent[0]}, but the input has only {', '.join(found)}; leave it out"
    )


def _check_apart(given: str | None, output: str):
  if given is None or storage.is_remote(given) or storage.is_remote(output):
    return
  input_, output = os.path.realpath(given), os.path.realpath(output)
  if os.path.commonpath((input_, output)) in (input_, output):
    raise errors.UsageError(
      f"--input={input_} and --output={output} lie in one another; choose a folder beside the input"
    )


if __name__ == "__main__":
  sys.exit(cli())
