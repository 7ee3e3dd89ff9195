"""What lies beside an exported file: how to use it (FILE.json), and its classes (FILE.labels.txt).

Most formats hold tensors and nothing else. Reading the file again takes the facts from its note.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from vggtf import errors
from vggtf.weights import canonical, preprocessing


def paths(path: Path) -> list[Path]:
  """Returns where the labels and the note of a file lie, if it has them."""
  return [_beside(path, ".labels.txt"), _beside(path, ".json")]


def write(
  path: Path, net: canonical.Net | None, facts: canonical.Facts, how: preprocessing.Preprocessing
) -> None:
  """Writes the note and, where the classes are known, the labels, a line each in label order."""
  labels, note = paths(path)
  content = {
    "file": path.name,
    "sha256": _sha256(path),
    "net": None if net is None else "A-LRN" if facts.lrn_form else net.config,
    "norm": None if net is None else net.norm,
    "input_size": facts.input_size,
    "colour_order": how.order,
    "mean_rgb": facts.mean_rgb,
    "std_rgb": how.std_rgb,
    "pool_rounding": facts.pool_rounding,
    "lrn_form": facts.lrn_form,
    "labels": labels.name if facts.labels else None,
  }
  if facts.labels:
    labels.write_text("".join(f"{label}\n" for label in facts.labels), encoding="utf-8")
  note.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[canonical.Facts, preprocessing.Preprocessing] | None:
  """Returns what the note beside a file says, None where there is none.

  Raises:
    IntegrityError: the note is damaged, or is of other weights.
  """
  note = _beside(path, ".json")
  if not note.is_file():
    return None
  try:
    content = json.loads(note.read_text(encoding="utf-8"))
    labels = content["labels"] and (path.parent / Path(content["labels"]).name).read_text(
      encoding="utf-8"
    )
    facts = canonical.Facts(
      mean_rgb=_three(content["mean_rgb"]),
      labels=tuple(labels.split("\n")[:-1]) if labels else None,
      pool_rounding=content["pool_rounding"],
      lrn_form=content["lrn_form"],
      input_size=content["input_size"],
    )
    how = preprocessing.Preprocessing(
      facts.mean_rgb, _three(content["std_rgb"]), content["colour_order"]
    )
    same = content["sha256"] == _sha256(path)
  except (ValueError, KeyError, TypeError, OSError) as error:
    raise errors.IntegrityError(
      f"{note} is damaged ({error!r}); convert again, or delete it to take the format's customs"
    ) from error
  if not same:
    raise errors.IntegrityError(
      f"{note} is of other weights than {path.name} holds; convert again, or delete it to take the "
      "format's customs"
    )
  return facts, how


def _beside(path: Path, suffix: str) -> Path:
  return path.with_name(path.name + suffix)


def _three(values: list[float]) -> tuple[float, float, float]:
  red, green, blue = (float(value) for value in values)
  return red, green, blue


def _sha256(path: Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
