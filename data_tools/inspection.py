"""Whether a converted data set is whole: every shard, the totals, and the files beside them."""

import dataclasses
from collections import Counter
from collections.abc import Iterator

from data_tools import publication, sharding, statistics_inspection, storage, tfds_metadata
from data_tools.record_inspection import Expected
from data_tools.shard_inspection import Findings, Problem, inspect_shard
from vggtf import errors, manifest, owner

_NOTES = (publication.REJECTED, publication.REPAIRED)


@dataclasses.dataclass(frozen=True)
class Section:
  """What was seen of one split at one scale, or of the files beside the shards."""

  name: str
  files: int
  records: int
  bytes: int
  decoded: int
  problems: tuple[Problem, ...]


def read_manifest(folder: str) -> manifest.Manifest:
  """Returns the manifest of a data set, local or in a bucket.

  Raises:
    IntegrityError: there is none, or it is damaged.
  """
  path = storage.join(folder, manifest.NAME)
  try:
    content = manifest.from_json(storage.read_file(path).decode(errors="replace"), path)
  except storage.NO_FILE:
    raise errors.IntegrityError(
      f"{path} is missing: not a data set, or an incomplete one; expected the --output of "
      "data_tools.convert"
    ) from None
  names = {
    f"{sharding.scale_folder(s)}/{split}" for s in content.scales for split in content.splits
  }
  if names != set(content.shards):
    raise errors.IntegrityError(
      f"{path} lists {sorted(content.shards)}, expected {sorted(names)}; convert the data again"
    )
  return content


def inspect(folder: str, decode: int | None) -> Iterator[Section]:
  """Reads a whole data set.

  Args:
    folder: the data set; local or in a bucket.
    decode: images to decode of each shard, evenly spread; None for all of them, which also checks
      the statistics.

  Yields:
    A section for each scale and split, then one for the files beside the shards.

  Raises:
    IntegrityError: there is no manifest, or it is damaged: nothing can be checked against it.
  """
  content = read_manifest(folder)
  ids: dict[tuple[str, int], str] = {}  # of the first sound copy of each shard
  repairs: dict[str, Counter[str]] = {}  # of the first sound copy of each split
  measured = min(content.scales, key=lambda scale: (not scale, scale))  # as the converter chose
  for scale in content.scales:
    for split in content.splits:
      name = f"{sharding.scale_folder(scale)}/{split}"
      shards, total = content.shards[name], Findings()
      for at, shard in enumerate(shards):
        upscale = content.options.get("upscale", True)
        place = Expected(shard, scale, split, at, len(shards), content.labels, upscale)
        found = inspect_shard(folder, place, decode)
        total.add(found)
        if not found.problems and found.ids != ids.setdefault((split, at), found.ids):
          what = "holds other images than the same shard of a smaller scale; convert again"
          total.problems.append(Problem(shard.path, None, what))
      if not total.problems:  # else its consequences would hide it
        repairs.setdefault(split, total.repairs)
        total.problems += _compare_totals(name, total, content, split)
      if scale == measured and split == "train" and decode is None and not total.problems:
        stored = total.moments.summarize()
        what = statistics_inspection.compare(stored, content.statistics)
        total.problems += (Problem(manifest.NAME, None, f"{w}; convert again") for w in what)
      yield Section(
        name=name,
        files=len(shards),
        records=total.records,
        bytes=total.bytes,
        decoded=total.decoded,
        problems=tuple(total.problems),
      )
  yield _inspect_rest(folder, content, repairs)


def _compare_totals(
  name: str, found: Findings, content: manifest.Manifest, split: str
) -> Iterator[Problem]:
  written = content.class_counts[split]
  for label, (key, _) in enumerate(content.labels):
    if found.labels[label] != written[label]:
      what = f"{found.labels[label]} images of class {key}, the manifest says {written[label]}"
      yield Problem(name, None, f"{what}; convert again")
      break  # an image of another class makes two of them
  inputs = content.inputs[split]
  for what, counted, said in (
    ("images", found.records, content.splits[split]),
    ("images with boxes", found.boxed, inputs.boxed),
    ("boxes", found.boxes, inputs.boxes),
  ):
    if counted != said:
      yield Problem(name, None, f"{counted} {what}, the manifest says {said}; convert again")


def _inspect_rest(
  folder: str, content: manifest.Manifest, repairs: dict[str, Counter[str]]
) -> Section:
  texts = {publication.LABELS: "".join(f"{text}\n" for _, text in content.labels)}
  for scale in content.scales:
    for name, text in tfds_metadata.describe(content, scale).items():
      texts[f"{sharding.scale_folder(scale)}/{name}"] = text
  beside = {manifest.NAME, *texts, *_NOTES}
  shards = {shard.path for files in content.shards.values() for shard in files}
  sizes = dict(storage.list_files(folder))
  sizes.pop(owner.NAME, None)  # the last that a conversion removes; a kill may have come before
  problems = [
    Problem(path, None, "is not in the manifest, but other readers may take it; remove it")
    for path in sizes.keys() - beside - shards
  ]
  for name in beside - sizes.keys():
    problems.append(Problem(name, None, "missing; convert the data again"))
  for name in texts.keys() & sizes.keys():
    if storage.read_file(storage.join(folder, name)) != texts[name].encode():
      what = "is not what the converter writes for the manifest; convert again"
      problems.append(Problem(name, None, what))
  if sizes.keys() >= set(_NOTES):
    problems += _compare_notes(folder, content, repairs)
  size = sum(sizes.get(name, 0) for name in beside)
  ordered = sorted(problems, key=lambda problem: problem.file)
  return Section("beside", len(beside), 0, size, 0, tuple(ordered))


def _compare_notes(
  folder: str, content: manifest.Manifest, repairs: dict[str, Counter[str]]
) -> Iterator[Problem]:
  """Every listed image is stored, rejected or left out, and every repair is told twice."""
  try:
    rejected = [
      (note["split"], note["kind"], note["reason"])
      for note in publication.read_notes(folder, publication.REJECTED)
    ]
    repaired = Counter(
      (note["split"], note["repair"])
      for note in publication.read_notes(folder, publication.REPAIRED)
    )
  except (errors.IntegrityError, KeyError, TypeError) as error:
    what = f"rejected.jsonl or repaired.jsonl cannot be read ({error}); convert again"
    yield Problem(publication.REJECTED, None, what)
    return
  for kind, said in (
    ("image", content.rejected),
    ("left_out", content.left_out),
    ("boxes", content.refused_boxes),
  ):
    listed = Counter(reason for _, of, reason in rejected if of == kind)
    if listed != said:
      what = f"lists {dict(listed)} of kind {kind}, the manifest says {said}; convert again"
      yield Problem(publication.REJECTED, None, what)
  for split, inputs in content.inputs.items():
    absent = sum(of == split and kind != "boxes" for of, kind, _ in rejected)
    if inputs.images != content.splits[split] + absent:
      what = (
        f"{inputs.images} images were listed for {split}, {content.splits[split]} are stored and "
        f"{absent} rejected or left out; convert again"
      )
      yield Problem(publication.REJECTED, None, what)
  for split, of_records in repairs.items():
    listed = Counter({what: n for (of, what), n in repaired.items() if of == split})
    if listed != of_records:
      what = f"lists {dict(listed)} for {split}, the records say {dict(of_records)}; convert again"
      yield Problem(publication.REPAIRED, None, what)
