"""--job=predict: what the exported SavedModel says of picture files, and where it sees that."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf
from PIL import Image

from vggtf import errors, images
from vggtf import workdir as workdirs
from vggtf.evaluators import places
from vggtf.reports import heat_map, page
from vggtf.training import trained

_log = logging.getLogger(__name__)

_EXPORT = "vggtf.jobs.export.run"  # whose net it is
_SUFFIX = ".heatmap.png"
_REFUSED = re.compile(r"image 0 of the request (has \d[^\]]*)")  # vggtf/export/limits.py


class Configuration(Protocol):
  """What the configuration knows of a call; vggtf/config.py."""

  def arguments(self, called: Callable | str) -> Mapping[str, Any]:
    """Returns the defaults and bindings that a call would get."""


def run(
  workdir: str,
  files: list[str],
  predictor: str | None = None,
  heatmap: str | None = None,
  read_configuration: Callable[[], Configuration] | None = None,
  scale: int | None = None,
) -> None:
  """Prints the most probable classes of each file, and draws where the first of them is seen.

  The answer comes from the newest SavedModel of the run, the same that a server would load. The
  map is what the run's net says of that class at each place of the whole picture.

  Args:
    workdir: the run's folder.
    files: JPEG or PNG.
    predictor: whose export; may be left out where only one was exported.
    heatmap: a folder for the drawings, none without it.
    read_configuration: reads the run's, which says what its net is.
    scale: smallest side of the pictures that are drawn on, as the net slides over them, pixels;
      twice the net's input by default.

  Raises:
    UsageError: there is no such file or export, or no map can be drawn.
    IntegrityError: the export is damaged.
  """
  folder = _newest(workdirs.Workdir(workdir).export, predictor)
  draw = None
  if heatmap is not None:
    draw = _Drawing(workdir, int(folder.name), read_configuration(), heatmap, files, scale)
  answer = _load(folder)
  print(f"{folder} says")
  for file in files:
    print(file)
    found = _ask(answer, file)
    for one in found:
      print(f"  {one.probability:6.1%}  {one.label}")
    if draw:
      draw(file, found[0])


def _load(folder: Path) -> Callable:
  """Returns what answers, of a SavedModel's folder.

  Raises:
    IntegrityError: a file is damaged or missing.
  """
  try:
    return tf.saved_model.load(str(folder)).signatures["serving_default"]
  except tf.errors.ResourceExhaustedError:  # out of memory
    raise
  except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
    reason = str(error).partition("\n")[0]
    raise errors.IntegrityError(
      f"{folder} cannot be loaded ({reason}): --job=verify --export={folder} tells which file is "
      "damaged, --job=export with --overwrite writes it anew"
    ) from error


def _ask(answer, file: str) -> list[page.Answer]:
  """Returns the most probable classes of a picture."""
  try:
    reply = answer(images=tf.constant([Path(file).read_bytes()]))
  except FileNotFoundError:
    raise errors.UsageError(f"there is no file {file}") from None
  except IsADirectoryError:
    raise errors.UsageError(f"{file} is a folder; name the pictures in it") from None
  except tf.errors.InvalidArgumentError as error:
    if refused := _REFUSED.search(error.message):
      raise errors.UsageError(
        f"{file} {refused[1]}; crop or shrink it, or export again with other Limits "
        "(--gin_param='Limits.aspect = 20' and so on, docs/serving.md)"
      ) from None
    raise errors.UsageError(f"{file} is not a whole JPEG or PNG") from None
  classes = reply["classes"][0].numpy()
  labels = [label.decode() for label in reply["labels"][0].numpy()]
  probabilities = reply["probabilities"][0].numpy()[classes]
  return list(map(page.Answer, classes.tolist(), labels, probabilities.tolist()))


class _Drawing:
  """Writes a picture for each file, with the map of a class laid over it.

  Args:
    workdir: the run's folder.
    step: of the checkpoint that was exported.
    configuration: says what the net is.
    folder: for the drawings.
    files: all that will be asked; no drawing takes the place of one of them.
    scale: as for `run`.

  Raises:
    UsageError: the folder is a file, or the net is not there.
  """

  def __init__(
    self,
    workdir: str,
    step: int,
    configuration: Configuration,
    folder: str,
    files: list[str],
    scale: int | None,
  ):
    given = configuration.arguments(_EXPORT)
    if "model" not in given:
      raise errors.UsageError(
        f"--heatmap: the configuration in {workdir} does not say what the net is "
        "(export.run.model); give it with --gin_file"
      )
    self._net = trained.load_run(
      workdir, given["model"], given["checkpoint_choice"], given["weights"]
    )
    if self._net.source.step != step:
      raise errors.UsageError(
        f"--heatmap asks the net that was exported, of step {step}, and the checkpoint at hand is "
        f"of step {self._net.source.step}: export that with --job=export first"
      )
    self._scale = places.choose_scale(self._net, scale)
    self._folder = Path(folder)
    try:
      self._folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
      raise errors.UsageError(
        f"--heatmap={folder} is a file or lies below one; expected a folder"
      ) from None
    self._taken = {Path(file).resolve() for file in files}

  def __call__(self, file: str, answer: page.Answer) -> None:
    photo = images.decode(tf.constant(Path(file).read_bytes())).numpy()
    seen = places.look(self._net, photo, self._scale)
    map_ = seen.places[..., answer.number]
    encoded = io.BytesIO()
    Image.fromarray(heat_map.draw(photo, map_, seen.window)).save(encoded, "PNG")
    path = self._free(Path(file).name)
    workdirs.write_bytes(path, encoded.getvalue())
    low, high = 100 * map_.min(), 100 * map_.max()
    _log.info("%s: %s at %.1f%% to %.1f%%", path, answer.label, low, high)

  def _free(self, name: str) -> Path:
    """Returns the path of a drawing; files of one name in several folders get numbers."""
    path, number = self._folder / f"{name}{_SUFFIX}", 1
    while path.resolve() in self._taken:
      number += 1
      path = self._folder / f"{name}-{number}{_SUFFIX}"
    self._taken.add(path.resolve())
    return path


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
