"""The files beside the shards: labels, rejected and repaired images and, last, the manifest."""

import importlib.metadata
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence

import vggtf
from data_tools import pixels, statistics
from data_tools.conversion import Note, ShardResult
from data_tools.options import Options
from data_tools.staging import write_durably
from vggtf import errors, manifest

LABELS = "labels.txt"
REJECTED = "rejected.jsonl"
REPAIRED = "repaired.jsonl"
_LIBRARIES = ("apache-beam", "numpy", "pillow", "simplejpeg")


def publish(
  folder: str,
  results: Iterable[ShardResult],
  classes: Sequence[tuple[str, str]],
  options: Options,
  source: dict,
):
  """Writes what describes a finished set of shards; `manifest.json` comes last and seals it.

  Args:
    folder: where the shards are.
    results: one for every shard, in any order.
    classes: (class key, readable name) in label order.
    options: of the conversion.
    source: what the source says of itself.

  Raises:
    IntegrityError: a shard's result is missing or came twice.
  """
  ordered = sorted(results, key=lambda result: (result.split, result.index))
  content = assemble(ordered, classes, options, source)
  write_durably(folder, LABELS, "".join(f"{text}\n" for _, text in classes))
  write_durably(folder, REJECTED, _to_lines("reason", [n for r in ordered for n in r.rejected]))
  write_durably(folder, REPAIRED, _to_lines("repair", [n for r in ordered for n in r.repaired]))
  write_durably(folder, manifest.NAME, content.to_json())


def assemble(
  results: Sequence[ShardResult],
  classes: Sequence[tuple[str, str]],
  options: Options,
  source: dict,
) -> manifest.Manifest:
  """Returns the manifest of `results`, which are sorted by split and index.

  Raises:
    IntegrityError: a shard's result is missing or came twice.
  """
  of_split = {split: [r for r in results if r.split == split] for split, _ in options.shards}
  for split, number in options.shards:
    found = [result.index for result in of_split[split]]
    if found != list(range(number)):
      raise errors.IntegrityError(
        f"the runner delivered the {split} shards {found}, expected each of 0..{number - 1} once; "
        "run again, and report it with the runner's name if it happens twice"
      )
  moments = sum((r.moments for r in of_split.get("train", [])), start=statistics.Moments())
  counts = {split: _count_classes(of_split[split], len(classes)) for split in of_split}
  return manifest.Manifest(
    options=options.describe() | {"pixels": pixels.describe(), "source": source},
    libraries={name: importlib.metadata.version(name) for name in _LIBRARIES}
    | {"vggtf": vggtf.__version__},
    scales=options.scales,
    labels=tuple(classes),
    splits={split: sum(counts[split]) for split in of_split},
    class_counts=counts,
    shards={
      f"scale_{scale}/{split}": tuple(result.files[at] for result in of_split[split])
      for at, scale in enumerate(options.scales)
      for split in of_split
    },
    statistics=moments.summarize(),
    rejected=dict(sorted(Counter(note.what for r in results for note in r.rejected).items())),
  )


def read_notes(folder: str, name: str) -> list[dict[str, str]]:
  """Returns the lines of `rejected.jsonl` or `repaired.jsonl`.

  Raises:
    IntegrityError: the file is missing or is not lines of JSON.
  """
  path = os.path.join(folder, name)
  try:
    with open(path, encoding="utf-8") as file:
      return [json.loads(line) for line in file]
  except (FileNotFoundError, ValueError) as error:
    raise errors.IntegrityError(
      f"{path} is missing or damaged ({error}); convert the data again"
    ) from None


def read_labels(folder: str) -> list[str]:
  """Returns the lines of `labels.txt`.

  Raises:
    IntegrityError: the file is missing.
  """
  path = os.path.join(folder, LABELS)
  try:
    with open(path, encoding="utf-8", errors="replace") as file:
      return file.read().split("\n")[:-1]
  except FileNotFoundError:
    raise errors.IntegrityError(f"{path} is missing; convert the data again") from None


def _count_classes(results: list[ShardResult], classes: int) -> tuple[int, ...]:
  counts = Counter[int]()
  for result in results:
    counts.update(dict(result.class_counts))
  return tuple(counts[label] for label in range(classes))


def _to_lines(key: str, notes: list[Note]) -> str:
  notes = sorted(notes, key=lambda note: (note.id, note.what, note.detail))
  return "".join(
    json.dumps({"id": note.id, "source": note.source, key: note.what, "detail": note.detail}) + "\n"
    for note in notes
  )
