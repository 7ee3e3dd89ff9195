"""A whole conversion, from a listing to a data set in its place, and the report of it."""

import contextlib
import dataclasses

from data_tools import (
  comparison,
  parts,
  pipeline,
  progress,
  publication,
  report,
  runner,
  staging,
  storage,
  terminal,
)
from data_tools.console import Patient
from data_tools.job import Job
from data_tools.shard_file import remove_orphans
from vggtf import errors, manifest, owner


def deliver(job: Job, beam_options, overwrite: bool, resume: bool):
  """Converts a source; `job.folder` is the data set's place, whole or untouched afterwards.

  Args:
    job: the conversion.
    beam_options: from `runner.parse_options`.
    overwrite: whether a data set there may be replaced, once the new one is complete.
    resume: whether to go on with what a broken-off run has finished; nothing is done if that was
      all, of the input as it is now.

  Raises:
    VggtfError: as the error says; nothing is published then.
  """
  output = job.folder
  if runner.is_dry_run(beam_options):
    runner.run(beam_options, lambda beam: pipeline.build(beam, job))
    terminal.say("convert: --dry_run: translated for Dataflow; nothing was converted")
    return
  if resume and _is_complete(job, beam_options, overwrite):
    _tidy(output)
    storage.remove_files([storage.join(output, owner.NAME)])
    terminal.say(f"convert: {output} is complete")
    return
  with _stage(output, overwrite, resume) as folder:
    staged = dataclasses.replace(job, folder=folder)
    if not _is_complete(staged, beam_options, overwrite=False):
      _convert(staged, beam_options, output)
    _tidy(folder)
    storage.remove_files([f"{output}.{publication.REJECTED}"])  # of an earlier attempt
  _report(output)  # not before it is in its place: a full or broken stdout must not undo it
  terminal.say(f"convert: wrote {output}")


def _is_complete(job: Job, beam_options, overwrite: bool) -> bool:
  path = storage.join(job.folder, manifest.NAME)
  if not storage.is_file(path):
    return False
  content = manifest.from_json(storage.read_file(path).decode(), path)
  try:
    comparison.compare(job, content, beam_options)
  except errors.UsageError:
    if not overwrite:
      raise
    return False
  return True


def _tidy(folder: str):
  """Removes what only an unfinished data set needs; a kill may have come before that."""
  remove_orphans(folder)
  parts.remove(folder)


def _is_valuable(folder: str) -> bool:
  return parts.exist(folder) or storage.is_file(storage.join(folder, manifest.NAME))


def _stage(output: str, overwrite: bool, resume: bool) -> contextlib.AbstractContextManager[str]:
  if not storage.is_remote(output):
    return staging.stage(output, manifest.NAME, overwrite, resume, _is_valuable)
  if overwrite:
    raise errors.UsageError(
      f"--overwrite: {output} lies in a bucket, where nothing can be replaced in one step; choose "
      "another --output"
    )
  return staging.stage_remote(output, resume)


def _convert(job: Job, beam_options, output: str):
  identity = publication.describe(job)
  del identity["options"]["max_reject_fraction"]  # decides nothing about the bytes
  parts.claim(job.folder, identity | {"classes": dict(enumerate(job.classes))})
  rejected = storage.join(job.folder, publication.REJECTED)
  storage.remove_files([rejected])  # of an earlier attempt
  try:
    with progress.report_progress(job.folder):
      runner.run(beam_options, lambda beam: pipeline.build(beam, job))
  except errors.RejectedInputError as error:
    if not storage.is_file(rejected):
      raise
    kept = f"{output}.{publication.REJECTED}"
    storage.write_file(kept, storage.read_file(rejected))
    notes = publication.read_notes(job.folder, publication.REJECTED)
    report.print_notes(Patient(), notes, "reason")
    raise errors.RejectedInputError(
      f"{error}; {kept} names each: mend or remove them, or allow more, and --resume"
    ) from None


def _report(output: str):
  path = storage.join(output, manifest.NAME)
  console = Patient()
  report.print_summary(console, manifest.from_json(storage.read_file(path).decode(), path))
  report.print_notes(console, publication.read_notes(output, publication.REJECTED), "reason")
  report.print_notes(console, publication.read_notes(output, publication.REPAIRED), "repair")
