"""--job=predict: what the exported SavedModel says of picture files."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from vggtf import errors
from vggtf import workdir as workdirs


def run(workdir: str, files: list[str], predictor: str | None = None) -> None:
  """Prints the most probable classes of each file.

  The answer comes from the newest SavedModel of the run, the same that a server would load.

  Args:
    workdir: the run's folder.
    files: JPEG or PNG.
    predictor: whose export; may be left out where only one was exported.
  """
  folder = _newest(workdirs.Workdir(workdir).export, predictor)
  answer = tf.saved_model.load(str(folder)).signatures["serving_default"]
  print(f"{folder} says")
  for file in files:
    print(file)
    for label, probability in _ask(answer, file):
      print(f"  {probability:6.1%}  {label}")


def _ask(answer, file: str) -> list[tuple[str, float]]:
  """Returns the most probable labels of a picture and their probabilities."""
  try:
    reply = answer(images=tf.constant([Path(file).read_bytes()]))
  except FileNotFoundError:
    raise errors.UsageError(f"there is no file {file}") from None
  except IsADirectoryError:
    raise errors.UsageError(f"{file} is a folder; name the pictures in it") from None
  except tf.errors.InvalidArgumentError:
    raise errors.UsageError(f"{file} is not a whole JPEG or PNG") from None
  classes = reply["classes"][0].numpy()
  labels = [label.decode() for label in reply["labels"][0].numpy()]
  return list(zip(labels, reply["probabilities"][0].numpy()[classes].tolist(), strict=True))


def _newest(export: Path, predictor: str | None) -> Path:
  """Returns the folder of the highest version."""
  versions = [path for path in export.glob("*/*") if path.name.isdecimal()]
  if not versions:
    raise errors.UsageError(f"nothing was exported to {export}; run --job=export first")
  predictors = sorted({path.parent.name for path in versions})
  if predictor is None and len(predictors) == 1:
    predictor = predictors[0]
  if predictor not in predictors:
    raise errors.UsageError(
      f"predict.run.predictor = {predictor!r}: exported are {', '.join(predictors)}; choose "
      "one with --gin_param"
    )
  return max(
    (path for path in versions if path.parent.name == predictor), key=lambda path: int(path.name)
  )
