"""Whether a converted data set is whole: every shard, the totals, and the files beside them."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator

from data_tools import publication, sharding, statistics
from data_tools.shard_inspection import Expected, Findings, Problem, inspect_shard
from vggtf import errors, manifest


@dataclasses.dataclass(frozen=True)
class Section:
  """What was seen of one split at one scale, or of the files beside the shards."""

  name: str
  files: int
  records: int
  bytes: int
  decoded: int
  problems: tuple[Problem, ...]


def inspect(folder: str, decode: int | None) -> Iterator[Section]:
  """Reads a whole data set.

  Args:
    folder: the data set.
    decode: images to decode of each shard, evenly spread; None for all of them, which also checks
      the statistics.

  Yields:
    A section for each scale and split, then one for the files beside the shards.

  Raises:
    IntegrityError: there is no manifest, or it is damaged: nothing can be checked against it.
  """
  content = _read_manifest(folder)
  ids: dict[tuple[str, int], str] = {}  # of the first sound copy of each shard
  for scale in content.scales:
    for split in content.splits:
      name = f"{sharding.scale_folder(scale)}/{split}"
      shards = content.shards[name]
      found = [
        inspect_shard(
          folder, Expected(shard, scale, split, at, len(shards), content.labels), decode
        )
        for at, shard in enumerate(shards)
      ]
      problems = [problem for findings in found for problem in findings.problems]
      problems += _compare_totals(name, found, content, split)
      for at, (shard, findings) in enumerate(zip(shards, found, strict=True)):
        sound = not findings.problems
        if sound and findings.ids != ids.setdefault((split, at), findings.ids):
          what = "holds other images than the same shard of a smaller scale; convert again"
          problems.append(Problem(shard.path, None, what))
      if scale == content.scales[0] and split == "train" and decode is None and not problems:
        problems += _compare_statistics(found, content)
      yield Section(
        name=name,
        files=len(found),
        records=sum(findings.records for findings in found),
        bytes=sum(findings.bytes for findings in found),
        decoded=sum(findings.decoded for findings in found),
        problems=tuple(problems),
      )
  yield _inspect_rest(folder, content)


def _read_manifest(folder: str) -> manifest.Manifest:
  path = os.path.join(folder, manifest.NAME)
  try:
    with open(path, encoding="utf-8", errors="replace") as file:
      content = manifest.from_json(file.read(), path)
  except FileNotFoundError:
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


def _compare_totals(
  name: str, found: list[Findings], content: manifest.Manifest, split: str
) -> Iterator[Problem]:
  """Only where no shard has a problem of its own: its consequences would hide it."""
  if any(findings.problems for findings in found):
    return
  labels: Counter[int] = sum((findings.labels for findings in found), start=Counter())
  counted = tuple(labels[label] for label in range(len(content.labels)))
  if counted != content.class_counts[split]:
    at = [a != b for a, b in zip(counted, content.class_counts[split], strict=False)].index(True)
    yield Problem(
      name,
      None,
      f"{counted[at]} images of class {content.labels[at][0]}, the manifest says "
      f"{content.class_counts[split][at]}; convert again",
    )
  if sum(counted) != content.splits[split]:
    yield Problem(
      name,
      None,
      f"{sum(counted)} images, the manifest says {content.splits[split]}; convert again",
    )


def _compare_statistics(found: list[Findings], content: manifest.Manifest) -> Iterator[Problem]:
  moments = sum((findings.moments for findings in found), start=statistics.Moments())
  if moments.summarize() != content.statistics:
    yield Problem(
      manifest.NAME,
      None,
      f"mean {content.statistics and content.statistics.mean_rgb}, the stored images have "
      f"{moments.pixels and moments.summarize().mean_rgb}; convert again, or decode with the "
      "versions of simplejpeg that it names",
    )


def _inspect_rest(folder: str, content: manifest.Manifest) -> Section:
  problems, size = [], 0
  beside = (manifest.NAME, publication.LABELS, publication.REJECTED, publication.REPAIRED)
  expected = {*beside, *(shard.path for shards in content.shards.values() for shard in shards)}
  for path in sorted(_list_files(folder) - expected):
    problems.append(
      Problem(path, None, "is not in the manifest, but other readers may take it; remove it")
    )
  for name in beside:
    path = os.path.join(folder, name)
    size += os.path.getsize(path) if os.path.exists(path) else 0
  try:
    labels = publication.read_labels(folder)
    if labels != [text for _, text in content.labels]:
      what = "differs from the manifest's labels; convert again"
      problems.append(Problem(publication.LABELS, None, what))
    rejected = Counter(
      note["reason"] for note in publication.read_notes(folder, publication.REJECTED)
    )
    if rejected != content.rejected:
      what = f"lists {dict(rejected)}, the manifest says {content.rejected}; convert again"
      problems.append(Problem(publication.REJECTED, None, what))
    publication.read_notes(folder, publication.REPAIRED)
  except errors.IntegrityError as error:
    problems.append(Problem("files beside the shards", None, str(error)))
  return Section("beside", len(beside), 0, size, 0, tuple(problems))


def _list_files(folder: str) -> set[str]:
  return {
    os.path.relpath(os.path.join(path, name), folder).replace(os.sep, "/")
    for path, _, names in os.walk(folder)
    for name in names
  }
