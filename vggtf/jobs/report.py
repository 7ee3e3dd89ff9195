"""--job=report: a run as one HTML page, without a network."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import tensorflow as tf

from vggtf import contracts, errors, images
from vggtf import workdir as workdirs
from vggtf.data import shards
from vggtf.evaluators import places
from vggtf.reports import answers, heat_map, overview, page, pictures, tables
from vggtf.training import trained

_log = logging.getLogger(__name__)
T = TypeVar("T")

_MEASURE = "vggtf.jobs.evaluate.run"  # its net is shown
_SIDE = 320  # pixels of a picture's longer side


class Configuration(Protocol):
  """What the configuration knows of a call; vggtf/config.py."""

  def arguments(self, called: Callable | str) -> Mapping[str, Any]:
    """Returns the defaults and bindings that a call would get."""


def run(
  workdir: str,
  read_configuration: Callable[[], Configuration],
  output: str | None = None,
  data_dir: str | None = None,
  scale: int | None = None,
  photos: int = 6,
  mistakes: int = 24,
) -> None:
  """Writes the page and prints where it is. What a run does not have is told in its place.

  Args:
    workdir: the run's folder.
    read_configuration: reads the run's, which says what its net is.
    output: the page; report.html in the run's folder by default.
    data_dir: where the data are now; where they were by default.
    scale: smallest side of the photos that the net slides over, pixels; twice the net's input by
      default.
    photos: with class-score maps, at most.
    mistakes: with pictures, at most.

  Raises:
    UsageError: the folder holds no run, the output is a folder, or a number is below 0.
    IntegrityError: run.json is damaged.
    EnvironmentFault: the extra is missing, or the page cannot be written.
  """
  page.check_installed()
  for name, count in (("photos", photos), ("mistakes", mistakes)):
    if count < 0:
      raise errors.UsageError(f"report.run.{name} = {count}: expected 0 or more")
  folder = workdirs.Workdir(workdir)
  facts = folder.read_facts()
  target = Path(output) if output else folder.report
  if target.is_dir():
    raise errors.UsageError(f"--output={target} is a folder; expected a file, such as report.html")

  net = _try(lambda: _load(workdir, read_configuration()))
  kept = _try(lambda: overview.newest_answers(folder))
  records = _try(lambda: _open(data_dir or facts.data_dir, facts, kept))
  report = page.Report(
    name=folder.name,
    facts=overview.facts(folder),
    sittings=_try(overview.sittings, folder),
    configuration=_try(overview.configuration, folder),
    charts=_try(overview.charts, folder),
    tables=tables.gather(folder.read_results()),
    evaluation=_try(overview.evaluation, kept),
    data=records if isinstance(records, page.Absent) else None,
    mistakes=_try(functools.partial(_mistakes, records, mistakes), kept),
    heat_maps=_try(functools.partial(_draw_maps, kept, scale, photos), net, records),
    filters=_try(_draw_filters, net),
  )
  workdirs.write_text(target, page.render(report))
  print(target)


def _try(make: Callable[..., T], *needed) -> T | page.Absent:
  """Returns what is made of what it needs, or the reason why it cannot be."""
  for part in needed:
    if isinstance(part, page.Absent):
      return part
  try:
    return make(*needed)
  except errors.VggtfError as error:
    reason = str(error).partition("\n  In call to configurable ")[0]  # gin appends its own trace
    _log.warning("not in the report: %s", reason)
    return page.Absent(reason)


def _load(workdir: str, configuration: Configuration) -> contracts.Model:
  given = configuration.arguments(_MEASURE)
  if "model" not in given:
    raise errors.UsageError(
      f"the configuration in {workdir} does not say what the net is (evaluate.run.model); give it "
      "with --gin_file"
    )
  return trained.load_run(workdir, given["model"], given["checkpoint_choice"], given["weights"])


def _open(
  data_dir: str, facts: workdirs.RunFacts, kept: answers.Kept | page.Absent
) -> shards.Shards:
  """Returns the split that was measured last, else the validation's or the first.

  Raises:
    UsageError: there is none, or it holds other images or classes.
  """
  if not data_dir:
    raise errors.UsageError("the run does not say where its data are: give --data_dir")
  manifest = shards.read_manifest(data_dir)
  if tuple(text for _, text in manifest.labels) != facts.labels:
    raise errors.UsageError(f"{data_dir} has other classes than the run: give its --data_dir")
  if isinstance(kept, page.Absent):
    filled = [split for split, count in manifest.splits.items() if count]
    if not filled:
      raise errors.UsageError(f"{data_dir} has no images")
    split = "validation" if "validation" in filled else filled[0]
  elif kept.line["data_sha256"] == manifest.sha256():
    split = kept.line["split"]
  else:
    raise errors.UsageError(
      f"{data_dir} is not the data set that was measured last: give that with --data_dir"
    )
  return shards.Shards(data_dir, split)


def _mistakes(
  records: shards.Shards | page.Absent, count: int, kept: answers.Kept
) -> list[page.Mistake]:
  """Returns the surest mistakes, with pictures where there are data."""
  found = overview.mistakes(kept, count)
  if isinstance(records, page.Absent):
    return found
  numbers = _find(records, {one.id for one in found})
  stored = records.sufficient_scale(_SIDE)
  return [
    one._replace(picture=pictures.photo(_read(records, numbers[one.id], stored)[1], _SIDE))
    for one in found
  ]


def _find(records: shards.Shards, ids: Iterable[str]) -> dict[str, int]:
  """Returns the numbers of images by id; ids are in no index."""
  wanted, numbers = set(ids), {}
  scale = min(records.scales, key=lambda scale: scale or np.inf)
  for number in range(records.count if wanted else 0):
    one = records.read_picture(number, scale).id
    if one in wanted:
      numbers[one] = number
      if len(numbers) == len(wanted):
        return numbers
  if missing := wanted - numbers.keys():
    raise errors.IntegrityError(f"the data set has no image {min(missing)}, which was measured")
  return numbers


def _read(records: shards.Shards, number: int, scale: int) -> tuple[Any, np.ndarray]:
  """Returns a record and its picture, uint8 [H, W, 3]."""
  record = records.read_picture(number, scale)
  try:
    return record, images.decode(tf.constant(record.encoded)).numpy()
  except tf.errors.InvalidArgumentError:
    raise errors.IntegrityError(f"the picture {record.id} of the data set is damaged") from None


def _draw_maps(
  kept: answers.Kept | page.Absent,
  scale: int | None,
  count: int,
  net: contracts.Model,
  records: shards.Shards,
) -> list[page.HeatMap]:
  """Returns maps of photos from all over the split, the same ones each time.

  Their class is that of the measured answers, or of the map's mean where nothing was measured.
  """
  scale = places.choose_scale(net, scale)
  stored, labels = records.sufficient_scale(scale), [text for _, text in records.manifest.labels]
  drawn = []
  for number in np.unique(np.linspace(0, records.count - 1, count).astype(int)).tolist():
    record, photo = _read(records, number, stored)
    seen = places.look(net, photo, scale)
    best = int(seen.posteriors.argmax())
    answer = page.Answer(best, labels[best], float(seen.posteriors[best]))
    if not isinstance(kept, page.Absent):
      (answer,) = overview.answers_to(kept, [record.id], 1)[0] or [answer]
    map_ = seen.places[..., answer.number]
    drawn.append(
      page.HeatMap(
        record.id,
        labels[record.label],
        answer,
        pictures.photo(photo, _SIDE),
        pictures.photo(heat_map.draw(photo, map_, seen.window), _SIDE),
        float(map_.min()),
        float(map_.max()),
        scale,
      )
    )
  return drawn


def _draw_filters(net: contracts.Model) -> str:
  """Returns the kernel that sees the picture's three colours.

  Raises:
    UsageError: the net has none.
  """
  for variable in net.trainable_variables:
    if variable.shape.rank == 4 and variable.shape[2] == 3:
      return pictures.filters(variable.numpy())
  raise errors.UsageError(f"{type(net).__name__} has no convolution that sees the colours")
