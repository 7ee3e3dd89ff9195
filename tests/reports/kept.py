"""Answers of made-up predictors."""

import numpy as np

from vggtf import contracts
from vggtf.reports import answers, measurement

LABELS = ("cat", "dog", "crane [bird]", "n|4, or so", "fox", "hen")


def net(letter="D", run="run_d", trained_at=(256, 512), views=(("dense", 384),)) -> dict:
  return {
    "net": letter,
    "run": run,
    "step": 10,
    "checkpoint_sha256": run,
    "averaged": False,
    "trained_at": trained_at and list(trained_at),
    "views": [list(view) for view in views],
  }


def describe(nets, protocol="a protocol", run="run_d") -> dict:
  return measurement.named(
    "some",
    run=run,
    step=10,
    protocol=protocol,
    split="validation",
    data_sha256="d" * 64,
    remark="",
    nets=nets,
  )


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
