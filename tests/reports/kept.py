"""Answers of made-up predictors."""

import numpy as np

from vggtf import contracts, metrics
from vggtf.reports import answers, measurement, paper

LABELS = ("cat", "dog", "crane [bird]", "n|4, or so", "fox", "hen")


def net(letter="D", run="run_d", trained_at=(256, 512), views=(("dense", 384),)) -> dict:
  """Returns a net alone; a view is a technique, a scale, and options that are not the paper's."""
  return {
    "net": letter,
    "run": run,
    "step": 10,
    "checkpoint_sha256": run,
    "averaged": False,
    "trained_at": trained_at and list(trained_at),
    "views": measurement.merge((view(*one) for one in views), len(views)),
  }


def view(technique, scale, options=None) -> measurement.View:
  """Returns one with the whole weight."""
  options = paper.OPTIONS.get(technique, "") if options is None else options
  how = f"{technique} Q={scale}" + (f", {options}" if options else "")
  return measurement.View(technique, scale, how, "1")


def forget(line: dict) -> dict:
  """Returns a line as earlier versions wrote it, without options and weights."""
  nets = [net | {"views": [view[:2] for view in net["views"]]} for net in line["nets"]]
  return line | {"nets": nets}


def describe(nets, protocol="a protocol", run="run_d") -> dict:
  """Returns what is measured of the mean of nets."""
  return measurement.named(
    "some",
    run=run,
    step=10,
    protocol=protocol,
    split="validation",
    data_sha256="d" * 64,
    remark="",
    nets=[net | {"views": measurement.merge(measurement.views(net), len(nets))} for net in nets],
  )


def views(*techniques, scales=(256, 384, 512)) -> list[tuple[str, int]]:
  """Returns all of these at all of these, for `net`."""
  return [(name, scale) for name in techniques for scale in scales]


def lines(nets, top1, top5, count=50_000, run="run_d", protocol="a protocol") -> list[dict]:
  """Returns those of a measurement of the mean of nets."""
  means = {
    "top1_error": metrics.Mean(top1 * count, count),
    "top5_error": metrics.Mean(top5 * count, count),
  }
  return measurement.lines(describe(nets, protocol, run), means)


def make(seed=0, count=40, nets=None, protocol="a protocol", **changes) -> answers.Kept:
  """Returns answers to `count` images, right more often than not."""
  random = np.random.RandomState(seed)
  label = (np.arange(count) % len(LABELS)).astype(np.int32)
  scores = random.normal(size=(count, len(LABELS))) + 2 * np.eye(len(LABELS))[label]
  posteriors = (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).astype(np.float32)
  classes = np.argsort(-posteriors, axis=1, kind="stable")[:, :5].astype(np.int32)
  ids = np.array([b"validation/%05d" % at for at in range(count)], object)
  found = contracts.Answers(
    ids, label, classes, np.take_along_axis(posteriors, classes, 1), posteriors
  )
  line = describe(nets or [net(run=f"run_{seed}")], protocol, f"run_{seed}")
  return answers.Kept(found._replace(**changes), LABELS, line)
