"""Whether a finished data set is what a conversion would make of its input as it is now."""

from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam

from data_tools import inputs, parts, publication, runner, terminal
from data_tools.inputs import InputSum
from data_tools.job import Job
from data_tools.members import Members
from data_tools.pipeline import GroupShards, ListItems
from data_tools.source import Annotation, Item
from vggtf import errors, manifest


def compare(job: Job, content: manifest.Manifest, beam_options):
  """Compares options and classes, and then the input, which is listed and read for it.

  Args:
    job: the conversion; `job.folder` is the finished data set.
    content: its manifest.
    beam_options: from `runner.parse_options`; the workers read.

  Raises:
    UsageError: there is a difference; the message says which.
    VggtfError: the input cannot be listed or read.
  """
  classes = dict(enumerate(content.labels))
  before = content.options | {"libraries": content.libraries, "classes": classes}
  now = publication.describe(job) | {"classes": dict(enumerate(job.classes))}
  _refuse(job.folder, before, now.pop("options") | now)
  terminal.say(f"convert: {job.folder} is finished; reading the input again, to compare")
  runner.run(beam_options, lambda pipeline: _build(pipeline, job, content.inputs))


def _build(pipeline: beam.Pipeline, job: Job, before: Mapping[str, manifest.Inputs]):
  _ = (
    pipeline
    | "List" >> ListItems(job.source)
    | "Shard" >> GroupShards(job.options)
    | "Sum" >> beam.Map(_sum_up, job).with_output_types(Any)
    | "Gather" >> beam.combiners.ToList()
    | "Compare" >> beam.Map(_compare_inputs, job.folder, before)
  )


def _sum_up(
  group: tuple[tuple[str, int], Iterable[Item | Annotation | None]], job: Job
) -> tuple[str, InputSum]:
  (split, _), listed = group
  return split, inputs.sum_up(Members(listed), job.source)


def _compare_inputs(
  sums: list[tuple[str, InputSum]], folder: str, before: Mapping[str, manifest.Inputs]
):
  now = {
    split: sum((found for of, found in sums if of == split), start=InputSum()).describe()
    for split in before
  }
  said = {split: {name: getattr(before[split], name) for name in now[split]} for split in now}
  _refuse(folder, {"inputs": said}, {"inputs": now})


def _refuse(folder: str, before: dict, now: dict):
  different = parts.find_difference(before, now)
  if different:
    raise errors.UsageError(
      f"--resume: {folder} is complete, with {different}; choose another --output, or replace it "
      "with --overwrite"
    )
