"""The mean of posteriors that were kept, and how far two sets of them agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vggtf import contracts, errors, workdir
from vggtf.reports import answers, measurement
from vggtf.reports.answers import Kept

_TOP = 5


class Mean(NamedTuple):
  """An error rate, as metrics.Mean has it."""

  value: float
  weight: int


def fuse(kept: Sequence[Kept], files: Sequence[str]) -> Kept:
  """Returns the mean of the posteriors.

  Args:
    kept: of the same images; at least two.
    files: what each was read from, for messages.

  Raises:
    UsageError: there is one alone, posteriors were not kept, or a net's view would count twice.
    IntegrityError: images, their labels or the classes differ.
  """
  if len(kept) < 2:
    raise errors.UsageError(f"{len(kept)} file of answers given, two or more are fused")
  first = kept[0]
  for one, file in zip(kept, files, strict=True):
    if one.answers.posteriors is None:
      raise errors.UsageError(
        f"{file} has no posteriors; evaluate with --gin_param='evaluate.run.posteriors = True'"
      )
    _check_same(first, one, files[0], file)
  if not are_one(kept):
    _check_different(kept, files)
  posteriors = np.mean([one.answers.posteriors for one in kept], axis=0, dtype=np.float64)
  posteriors = posteriors.astype(np.float32)
  classes = np.argsort(-posteriors, axis=1, kind="stable")[:, :_TOP].astype(np.int32)
  found = contracts.Answers(
    first.answers.id,
    first.answers.label,
    classes,
    np.take_along_axis(posteriors, classes, axis=1),
    posteriors,
  )
  return Kept(found, first.labels, describe([one.line for one in kept]))


def describe(lines: Sequence[dict]) -> dict:
  """Returns the description of the mean of what was measured (vggtf/reports/measurement.py).

  Args:
    lines: of results.jsonl, or descriptions.
  """
  nets: dict[tuple, dict] = {}
  for net in (net for line in lines for net in line["nets"]):
    known = nets.setdefault(_key(net), net | {"views": []})
    known["views"] += measurement.views(net)
  for net in nets.values():
    net["views"] = measurement.merge(net["views"], len(lines))
  protocol = " and ".join(dict.fromkeys(line["protocol"] for line in lines))
  if len(nets) > 1:
    protocol = f"{len(nets)} nets: {protocol} ({' and '.join(n['run'] for n in nets.values())})"
  first = {name: lines[0][name] for name in ("run", "step", "split", "data_sha256", "remark")}
  return measurement.named("fused", **first, protocol=protocol, nets=list(nets.values()))


def are_one(kept: Sequence[Kept]) -> bool:
  """Returns whether all are of one net and one protocol: they are compared, and no mean is new."""
  return all(one.line["nets"] == kept[0].line["nets"] for one in kept)


def keep(folder: workdir.Workdir, fused: Kept) -> None:
  """Adds a mean to a run's results and answers."""
  answers.save(folder.path, fused)
  folder.append_results(measurement.lines(fused.line, means(fused)))


def means(kept: Kept) -> dict[str, Mean]:
  """Returns the top-1 and top-5 error of answers."""
  right = kept.answers.classes == kept.answers.label[:, np.newaxis]
  count = len(right)
  return {
    f"top{k}_error": Mean(float(1 - right[:, :k].any(axis=1).mean()), count) for k in (1, _TOP)
  }


def agreement(kept: Sequence[Kept]) -> list[str]:
  """Returns a line for each pair: how often the first class is the same, how far numbers differ."""
  texts = []
  for (i, a), (j, b) in itertools.combinations(enumerate(kept, 1), 2):
    same = (a.answers.classes[:, 0] == b.answers.classes[:, 0]).mean()
    apart = np.abs(a.answers.posteriors - b.answers.posteriors)
    texts.append(
      f"{i} and {j}: the same first class for {same:.2%}; the label's posterior differs by "
      f"{_of_label(apart, a).mean():.4f} on average, any by {apart.max():.4f} at most"
    )
  return texts


def _of_label(values: np.ndarray, kept: Kept) -> np.ndarray:
  return np.take_along_axis(values, kept.answers.label[:, np.newaxis], axis=1)


def _key(net: dict) -> tuple:
  return net["checkpoint_sha256"], net["averaged"]


def _check_different(kept: Sequence[Kept], files: Sequence[str]) -> None:
  """Raises UsageError where a net looks in one way in two files; what is unknown may be that."""
  asked = [
    (at, net, view)
    for at, one in enumerate(kept)
    for net in one.line["nets"]
    for view in measurement.views(net)
  ]
  for (i, net, view), (j, other, again) in itertools.combinations(asked, 2):
    equal = _key(net) == _key(other) and view[:2] == again[:2]
    if i != j and equal and (view.how == again.how or "" in (view.how, again.how)):
      raise errors.UsageError(
        f"{files[i]} and {files[j]} both have what {net['run']} says by {view.technique} at "
        f"{view.scale}, which would count twice; expected each net and protocol in one file: "
        "leave one of the two out"
      )


def _check_same(first: Kept, other: Kept, first_file: str, other_file: str) -> None:
  ours, theirs = (set(one.answers.id.tolist()) for one in (first, other))
  if first.labels != other.labels:
    problem = "other classes, or in another order"
  elif ours != theirs:
    problem = f"other images: {len(ours - theirs)} are missing, {len(theirs - ours)} are new"
  elif (first.answers.label != other.answers.label).any():
    problem = "other labels of the same images"
  else:
    return
  raise errors.IntegrityError(
    f"{other_file} has {problem} than {first_file}; only answers to one data set can be fused"
  )
