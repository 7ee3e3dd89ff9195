"""The errors that the paper reports on ILSVRC-2012: tables 3 to 6, in percent."""

from __future__ import annotations

import dataclasses

DENSE, CROPS = "dense", "multi_crop"  # as the predictors are called
# Section 3.2, as the predictors say it behind their Q; means weigh all alike (4.2 to 4.4).
OPTIONS = {DENSE: "mean of scores, flip", CROPS: "5x5, flip"}
JITTER = (256, 512)
# Section 4.2: at which Q a net is tested by its S.
SEVERAL = {(256, 256): (224, 256, 288), (384, 384): (352, 384, 416), JITTER: (256, 384, 512)}
_ONE = {(256, 256): (256,), (384, 384): (384,), JITTER: (384,)}  # section 4.1


@dataclasses.dataclass(frozen=True)
class Net:
  """A net as it is tested: its letter, S_min and S_max, all Q, and how the picture is looked at."""

  net: str
  trained_at: tuple[int, int] | None
  scales: tuple[int, ...]
  techniques: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Row:
  """A row: the nets whose posteriors are averaged, errors on the validation and the test set."""

  nets: tuple[Net, ...]
  top1: float
  top5: float
  test_top5: float | None = None


def _row(net: str, s: int | tuple[int, int], errors: tuple[float, ...], scales: dict) -> Row:
  trained_at = s if isinstance(s, tuple) else (s, s)
  return Row((Net(net, trained_at, scales[trained_at], (DENSE,)),), *errors)


def _jittered(letters: str, techniques: tuple[str, ...], *errors: float | None) -> Row:
  return Row(tuple(Net(net, JITTER, SEVERAL[JITTER], techniques) for net in letters), *errors)


TABLE_3 = tuple(
  _row(*row, _ONE)
  for row in (
    ("A", 256, (29.6, 10.4)),
    ("A-LRN", 256, (29.7, 10.5)),
    ("B", 256, (28.7, 9.9)),
    ("C", 256, (28.1, 9.4)),
    ("C", 384, (28.1, 9.3)),
    ("C", JITTER, (27.3, 8.8)),
    ("D", 256, (27.0, 8.8)),
    ("D", 384, (26.8, 8.7)),
    ("D", JITTER, (25.6, 8.1)),
    ("E", 256, (27.3, 9.0)),
    ("E", 384, (26.9, 8.7)),
    ("E", JITTER, (25.5, 8.0)),
  )
)

TABLE_4 = tuple(
  _row(*row, SEVERAL)
  for row in (
    ("B", 256, (28.2, 9.6)),
    ("C", 256, (27.7, 9.2)),
    ("C", 384, (27.8, 9.2)),
    ("C", JITTER, (26.3, 8.2)),
    ("D", 256, (26.6, 8.6)),
    ("D", 384, (26.5, 8.6)),
    ("D", JITTER, (24.8, 7.5)),
    ("E", 256, (26.9, 8.7)),
    ("E", 384, (26.7, 8.6)),
    ("E", JITTER, (24.8, 7.5)),
  )
)

TABLE_5 = (
  _jittered("D", (DENSE,), 24.8, 7.5),
  _jittered("D", (CROPS,), 24.6, 7.5),
  _jittered("D", (DENSE, CROPS), 24.4, 7.2),
  _jittered("E", (DENSE,), 24.8, 7.5),
  _jittered("E", (CROPS,), 24.6, 7.4),
  _jittered("E", (DENSE, CROPS), 24.4, 7.1),
)

# Seven nets at their scales of table 4 were submitted; the jittered D had only its fully-connected
# layers fine-tuned then.
_SUBMITTED = (("D", 256), ("D", 384), ("D", JITTER), ("C", 256), ("C", 384), ("E", 256), ("E", 384))
TABLE_6 = (
  Row(
    tuple(net for letter, s in _SUBMITTED for net in _row(letter, s, (0, 0), SEVERAL).nets),
    24.7,
    7.5,
    7.3,
  ),
  _jittered("DE", (DENSE,), 24.0, 7.1, 7.0),
  _jittered("DE", (CROPS,), 23.9, 7.2, None),
  _jittered("DE", (DENSE, CROPS), 23.7, 6.8, 6.8),
)
