"""Writes scikit-learn's 1,797 scanned digits as JPEG files in ImageNet's folder layout.

A real data set of 1 MB that needs no download: train/<digit>/*.jpg and validation/<digit>/*.jpg.

  python -m data_tools.digits --output=DIR
"""

import os
import sys
from collections import Counter
from collections.abc import Sequence

from data_tools import flags, storage, terminal
from data_tools.listing import scanned_digits
from data_tools.staging import stage
from vggtf import errors

NOTE = """\
1,797 handwritten digits of 10 classes, 8x8 pixels of 17 levels each, from scikit-learn's
load_digits: the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak,
1998, UCI Machine Learning Repository), written by 13 people.

Each pixel is a block of 8x8 pixels here, its level v the grey round(v * 255 / 16). Of each class
every fifth image, in the order of load_digits, is in validation/, the others are in train/. Both
hold digits of the same writers, so errors measured here say nothing of writers never seen.
"""


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
    EnvironmentFault: scikit-learn is missing, or the disk refuses.
    UsageError: a flag is wrong, or the folder holds something.
  """
  parser = flags.Parser("data_tools.digits", __doc__)
  parser.add_argument("--output", required=True, metavar="DIR", help="the folder to make")
  parser.add_argument("--overwrite", action="store_true", help="replace DIR if it holds something")
  parsed = parser.parse_all(arguments)
  if storage.is_remote(parsed.output):
    raise errors.UsageError(
      f"--output={parsed.output}: expected a local folder; data_tools.convert --source=digits "
      "writes to a bucket, and needs no such folder"
    )
  output = os.path.abspath(parsed.output)
  images, labels = scanned_digits.load()
  with stage(output, "README.txt", parsed.overwrite) as folder:
    written = write_images(folder, images, labels)
    storage.write_file(os.path.join(folder, "README.txt"), NOTE.encode())
  counts = ", ".join(f"{number} in {split}" for split, number in sorted(written.items()))
  terminal.say(f"digits: wrote {output}: {counts}")
  return 0


def write_images(folder: str, images, labels) -> Counter:
  """Writes the images below `folder` and returns how many each split has.

  Args:
    folder: exists.
    images: [n, 8, 8], values 0..16.
    labels: [n], the digits.
  """
  written: Counter[str] = Counter()
  for name, image in zip(scanned_digits.name_images(labels), images, strict=True):
    path = os.path.join(folder, *name.split("/"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
      file.write(scanned_digits.encode(image))
    written[name.partition("/")[0]] += 1
  return written


if __name__ == "__main__":
  sys.exit(cli())
