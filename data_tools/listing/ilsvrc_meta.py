"""The classes of the devkit's meta.mat, read in a process of its own.

scipy's reader crashes on one wrong bit in thirty. The child is

  python -m data_tools.listing.ilsvrc_meta < meta.mat

and answers in JSON: the rows, or one text that says why there are none.
"""

import importlib.util
import io
import json
import os
import subprocess
import sys

from vggtf import errors

_COMMAND = (sys.executable, "-m", "data_tools.listing.ilsvrc_meta")
_SECONDS = 60

Row = tuple[int, str, str, int]


def read(data: bytes, where: str) -> list[Row]:
  """Returns (ILSVRC2012_ID, WNID, words, training images or 0) of each class, groups left out.

  Args:
    data: the file.
    where: its name, for messages.

  Raises:
    UsageError: it is something else, or damaged.
    EnvironmentFault: scipy is not installed.
  """
  if importlib.util.find_spec("scipy") is None:
    raise errors.EnvironmentFault(
      f"{where} is read by scipy, which is not installed; run: pip install 'vggtf[imagenet]'"
    )
  path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
  environment = os.environ | {"PYTHONPATH": path}
  try:
    child = subprocess.run(
      _COMMAND, input=data, stdout=subprocess.PIPE, timeout=_SECONDS, env=environment, check=False
    )
    answer = json.loads(child.stdout) if not child.returncode else f"exit code {child.returncode}"
  except subprocess.TimeoutExpired:
    answer = f"more than {_SECONDS} seconds"
  if isinstance(answer, str):
    raise errors.UsageError(
      f"{where} is not the meta.mat of ILSVRC2012: {answer}; get the devkit again"
    )
  return [tuple(row) for row in answer]


def main():
  """Answers on stdout what stdin holds."""
  try:
    answer = _parse(sys.stdin.buffer.read())
  except Exception as error:  # scipy may raise anything on a damaged file
    answer = repr(error)
  json.dump(answer, sys.stdout)


def _parse(data: bytes) -> list[Row]:
  import numpy as np
  from scipy import io as scipy_io

  synsets = np.atleast_1d(scipy_io.loadmat(io.BytesIO(data), squeeze_me=True)["synsets"])
  counted = "num_train_images" in synsets.dtype.names
  return [
    (
      int(row["ILSVRC2012_ID"]),
      str(row["WNID"]),
      str(row["words"]),
      int(row["num_train_images"]) if counted else 0,
    )
    for row in synsets
    if not int(row["num_children"])
  ]


if __name__ == "__main__":
  main()
