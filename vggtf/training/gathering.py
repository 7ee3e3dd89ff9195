"""What processes measured, each on its share of the images, brought together in the first."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np

from vggtf import contracts, errors, metrics
from vggtf.training import peers as others

_IMAGES = 250  # in a message: a megabyte of the posteriors of 1,000 classes


def gather(
  peers: others.Peers, measured: Sequence[contracts.Measured]
) -> list[contracts.Measured] | None:
  """Returns in the first process what all have measured; None in the others.

  Args:
    peers: the processes.
    measured: what this one found on its share, of the same predictors in all of them.

  Raises:
    PeerError: a process was lost.
    IntegrityError: an image was measured twice.
  """
  if len(peers.names) == 1:
    return list(measured)
  whole = [_gather(peers, one) for one in measured]
  return whole if peers.rank == 0 else None


def _gather(peers: others.Peers, one: contracts.Measured) -> contracts.Measured | None:
  """Returns in the first process a predictor's answers to all images, sorted by id, and its means.

  A share without images has no columns that count: its classes may be unknown.
  """
  means = peers.gather({name: [float(part) for part in mean] for name, mean in one.means.items()})
  answers = one.answers and {
    name: column for name, column in one.answers._asdict().items() if column is not None
  }
  counts = peers.exchange(len(answers["id"]) if answers else 0)
  parts = []
  for first in range(0, max(counts), _IMAGES):
    piece = {name: column[first : first + _IMAGES] for name, column in (answers or {}).items()}
    parts += map(_unpack, peers.gather(_pack(piece)) or ())
  if means is None:
    return None
  parts = [part for part in parts if len(part.get("id", ()))]
  names = parts[0] if parts else ()
  columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
  if columns:
    order = np.argsort(columns["id"])
    columns = {name: column[order] for name, column in columns.items()}
    _check_once(columns["id"])
  return one._replace(
    means=metrics.combine(means),
    answers=contracts.Answers(**columns) if columns else None,
  )


def _check_once(ids: np.ndarray) -> None:
  """Raises IntegrityError where an image occurs twice in sorted ids."""
  twice = ids[1:][ids[1:] == ids[:-1]]
  if len(twice):
    raise errors.IntegrityError(
      f"{len(twice)} images were measured by two processes, such as {twice[0].decode()}; an "
      "evaluator must measure those alone whose number modulo `workers` is `worker`"
    )


def _pack(columns: Mapping[str, np.ndarray]) -> str:
  """Returns arrays as text for a line of JSON."""
  if "id" in columns:
    columns = {**columns, "id": columns["id"].astype("S")}
  file = io.BytesIO()
  np.savez(file, **columns)
  return base64.b64encode(file.getvalue()).decode()


def _unpack(text: str) -> dict[str, np.ndarray]:
  """Returns the arrays that were packed; ids as Python's bytes."""
  with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as file:
    columns = dict(file)
  if "id" in columns:
    columns["id"] = columns["id"].astype(object)
  return columns
