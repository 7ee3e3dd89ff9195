"""The manifest of a converted data set: what it holds, file by file, and how it was made.

`manifest.json` is written last: a folder without one is not a data set. It holds no time, host or
path, so equal inputs and options give equal bytes on any runner.
"""

import dataclasses
import hashlib
import json

from vggtf import errors, schema

NAME = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Shard:
  """One TFRecord file: path below the set's folder, number of records, bytes, sha256 in hex."""

  path: str
  records: int
  bytes: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class Statistics:
  """Of the training split at the smallest scale, in levels of 0..255, RGB, before JPEG.

  `eigenvalues` are those of the covariance, descending; `eigenvectors[i]` is the unit vector of the
  i-th, its largest component positive.
  """

  pixels: int
  mean_rgb: tuple[float, ...]
  covariance_rgb: tuple[tuple[float, ...], ...]
  eigenvalues: tuple[float, ...]
  eigenvectors: tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What was listed and read for a split.

  Attributes:
    images: listed; each is stored, rejected or left out.
    bytes: of those that were read.
    digest: of all that was listed and of the bytes of those that were read, in any order, in hex.
    duplicates: stored images whose bytes an earlier one of any split has too.
    boxed: stored images that have boxes.
    boxes: their number.
  """

  images: int
  bytes: int
  digest: str
  duplicates: int
  boxed: int
  boxes: int


@dataclasses.dataclass(frozen=True)
class Manifest:
  """A whole data set.

  `splits` maps a split to its images; `scales` are smallest sides in pixels; `labels` are
  (class key, readable name) in label order; `shards` maps "scale_S/split" to its files in order;
  `class_counts` maps a split to the images of each label (every class of an image counts);
  `inputs` maps a split to what went in; `rejected`, `left_out` and `refused_boxes` map a reason to
  the images that could not be converted, that the source's protocol does not use, and to the
  annotation files that could not be used.
  """

  options: dict
  libraries: dict[str, str]
  scales: tuple[int, ...]
  labels: tuple[tuple[str, str], ...]
  splits: dict[str, int]
  class_counts: dict[str, tuple[int, ...]]
  shards: dict[str, tuple[Shard, ...]]
  statistics: Statistics | None
  inputs: dict[str, Inputs]
  rejected: dict[str, int]
  left_out: dict[str, int]
  refused_boxes: dict[str, int]
  schema_version: int = schema.VERSION

  def to_json(self) -> str:
    """Returns the text of `manifest.json`; `digest` inside it guards against edits."""
    content = dataclasses.asdict(self)
    return json.dumps({"digest": _digest(content), **content}, indent=1, sort_keys=True) + "\n"

  def sha256(self) -> str:
    """Returns the sum of that text: two data sets are the same if theirs is."""
    return hashlib.sha256(self.to_json().encode()).hexdigest()


def _digest(content: dict) -> str:
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def from_json(text: str, where: str) -> Manifest:
  """Returns the manifest that `Manifest.to_json` wrote.

  Raises:
    IntegrityError: not a manifest, edited since, or of another schema version.
  """
  try:
    content = json.loads(text)
    version, digest = content["schema_version"], content.pop("digest")
  except (ValueError, TypeError, KeyError):
    raise errors.IntegrityError(
      f"{where} is not a manifest of data_tools.convert; convert the data again"
    ) from None
  if version != schema.VERSION:
    raise errors.IntegrityError(
      f"{where} has schema version {version}, this program reads {schema.VERSION}; convert the "
      "data again, or use the version of vggtf that wrote it"
    )
  if digest != _digest(content):
    raise errors.IntegrityError(
      f"{where} was edited or damaged (its digest differs); convert again"
    )
  statistics = content.pop("statistics")
  return Manifest(
    **content
    | {
      "scales": tuple(content["scales"]),
      "labels": tuple((key, text) for key, text in content["labels"]),
      "class_counts": {split: tuple(n) for split, n in content["class_counts"].items()},
      "shards": {
        name: tuple(Shard(**shard) for shard in shards)
        for name, shards in content["shards"].items()
      },
      "inputs": {split: Inputs(**inputs) for split, inputs in content["inputs"].items()},
    },
    statistics=statistics
    and Statistics(
      pixels=statistics["pixels"],
      mean_rgb=tuple(statistics["mean_rgb"]),
      covariance_rgb=tuple(tuple(row) for row in statistics["covariance_rgb"]),
      eigenvalues=tuple(statistics["eigenvalues"]),
      eigenvectors=tuple(tuple(row) for row in statistics["eigenvectors"]),
    ),
  )
