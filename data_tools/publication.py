"""The files beside the shards: labels, rejected and repaired images and, last, the manifest."""

import importlib.metadata
import json
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

import vggtf
from data_tools import pixels, sharding, statistics, storage, tfds_metadata
from data_tools.inputs import InputSum
from data_tools.job import Job
from data_tools.parts import Note, ShardResult
from vggtf import errors, manifest

LABELS = "labels.txt"
REJECTED = "rejected.jsonl"
REPAIRED = "repaired.jsonl"
_LIBRARIES = ("apache-beam", "numpy", "pillow", "simplejpeg")


def publish(results: Iterable[ShardResult], job: Job):
  """Writes what describes a finished set of shards; `manifest.json` comes last and seals it.

  Args:
    results: one for every shard, in any order.
    job: the conversion.

  Raises:
    IntegrityError: a shard's result is missing or came twice.
    RejectedInputError: too many images were rejected; all is written but the manifest.
  """
  ordered = sorted(results, key=lambda result: (result.split, result.index))
  content = assemble(ordered, job)
  notes = [note for result in ordered for note in result.notes]
  texts = {
    LABELS: "".join(f"{text}\n" for _, text in job.classes),
    REJECTED: _to_lines("reason", [note for note in notes if note.kind != "repair"]),
    REPAIRED: _to_lines("repair", [note for note in notes if note.kind == "repair"]),
  }
  for scale in job.options.scales:
    for name, text in tfds_metadata.describe(content, scale).items():
      texts[f"{sharding.scale_folder(scale)}/{name}"] = text
  for name, text in texts.items():
    storage.write_file(storage.join(job.folder, name), text.encode())
  _check_rejected(content, job.options.max_reject_fraction)
  storage.write_file(storage.join(job.folder, manifest.NAME), content.to_json().encode())


def describe(job: Job) -> dict:
  """Returns all that decides a conversion's bytes, as JSON values without paths or times."""
  return {
    "options": job.options.describe(),
    "pixels": pixels.describe(),
    "source": job.source.describe(),
    "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES}
    | {"vggtf": vggtf.__version__},
  }


def assemble(results: Sequence[ShardResult], job: Job) -> manifest.Manifest:
  """Returns the manifest of `results`, which are sorted by split and index.

  Raises:
    IntegrityError: a shard's result is missing or came twice.
  """
  shards = job.options.shards
  of_split = {split: [r for r in results if r.split == split] for split, _ in shards}
  for split, number in shards:
    found = [result.index for result in of_split[split]]
    if found != list(range(number)):
      raise errors.IntegrityError(
        f"the runner delivered the {split} shards {found}, expected each of 0..{number - 1} once; "
        "run again, and report it with the runner's name if it happens twice"
      )
  described = describe(job)
  libraries = described.pop("libraries")
  moments = sum((r.moments for r in of_split.get("train", [])), start=statistics.Moments())
  duplicates = _count_duplicates(results)
  return manifest.Manifest(
    options=described.pop("options") | described,
    libraries=libraries,
    scales=job.options.scales,
    labels=tuple(job.classes),
    splits={split: sum(r.files[0].records for r in of_split[split]) for split in of_split},
    class_counts={s: _count_classes(of_split[s], len(job.classes)) for s in of_split},
    shards={
      f"{sharding.scale_folder(scale)}/{split}": tuple(r.files[at] for r in of_split[split])
      for at, scale in enumerate(job.options.scales)
      for split in of_split
    },
    statistics=moments.summarize(),
    inputs={split: _sum_inputs(of_split[split], duplicates[split]) for split in of_split},
    rejected=_count_notes(results, "image"),
    left_out=_count_notes(results, "left_out"),
    refused_boxes=_count_notes(results, "boxes"),
  )


def read_notes(folder: str, name: str) -> list[dict[str, str]]:
  """Returns the lines of `rejected.jsonl` or `repaired.jsonl`.

  Raises:
    IntegrityError: the file is missing or is not lines of JSON.
  """
  path = storage.join(folder, name)
  try:
    return [json.loads(line) for line in storage.read_file(path).decode().splitlines()]
  except (FileNotFoundError, ValueError) as error:
    raise errors.IntegrityError(
      f"{path} is missing or damaged ({error}); convert the data again"
    ) from None


def _check_rejected(content: manifest.Manifest, allowed: float):
  rejected, left_out = sum(content.rejected.values()), sum(content.left_out.values())
  images = sum(inputs.images for inputs in content.inputs.values()) - left_out
  if rejected > allowed * images:
    reasons = ", ".join(f"{number} {reason}" for reason, number in content.rejected.items())
    raise errors.RejectedInputError(
      f"{rejected} of {images} images were rejected ({reasons}), more than "
      f"--max_reject_fraction={allowed} allows; nothing was published"
    )


def _count_classes(results: list[ShardResult], classes: int) -> tuple[int, ...]:
  counts = Counter[int]()
  for result in results:
    counts.update(dict(result.class_counts))
  return tuple(counts[label] for label in range(classes))


def _count_duplicates(results: Sequence[ShardResult]) -> dict[str, int]:
  """Of images with equal bytes the first in the order of the shards is none."""
  contents = [np.frombuffer(bytes.fromhex(result.contents), np.uint64) for result in results]
  duplicate = np.ones(sum(map(len, contents)), bool)
  duplicate[np.unique(np.concatenate(contents), return_index=True)[1]] = False
  counts: Counter[str] = Counter()
  for result, found in zip(
    results, np.split(duplicate, np.cumsum([len(part) for part in contents])[:-1]), strict=True
  ):
    counts[result.split] += int(found.sum())
  return counts


def _sum_inputs(results: Sequence[ShardResult], duplicates: int) -> manifest.Inputs:
  total = sum((result.inputs for result in results), start=InputSum())
  return manifest.Inputs(
    **total.describe(),
    duplicates=duplicates,
    boxed=sum(result.boxed for result in results),
    boxes=sum(result.boxes for result in results),
  )


def _count_notes(results: Sequence[ShardResult], kind: str) -> dict[str, int]:
  counts = Counter(note.what for r in results for note in r.notes if note.kind == kind)
  return dict(sorted(counts.items()))


def _to_lines(key: str, notes: list[Note]) -> str:
  lines = []
  for note in sorted(notes, key=lambda note: (note.id, note.kind, note.what, note.detail)):
    line = {"id": note.id, "source": note.source, "split": note.split}
    kind = {} if note.kind == "repair" else {"kind": note.kind}
    lines.append(json.dumps(line | kind | {key: note.what, "detail": note.detail}) + "\n")
  return "".join(lines)
