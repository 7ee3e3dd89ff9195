"""--job=evaluate: measures a trained net by a protocol of the paper."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from vggtf import contracts, errors
from vggtf import workdir as workdirs
from vggtf.reports import answers, measurement, summary
from vggtf.training import agreement, gathering, peers, trained

_log = logging.getLogger(__name__)


def run(
  workdir: str,
  model: Callable[..., contracts.Model],
  evaluator: Callable[[contracts.Model, str], contracts.Evaluator],
  data_dir: str | None = None,
  checkpoint_choice: str = "latest",
  weights: str = "raw",
  posteriors: bool = False,
  repeat: bool = True,
  processes: Callable[[], peers.Peers] = peers.Peers,
) -> None:
  """Measures, prints and adds the numbers to results.jsonl.

  Of a predictor that is a mean, all that it averages is measured in the same pass. What was
  answered to each image goes to evaluations/ (vggtf/reports/answers.py).

  Args:
    workdir: the run's folder.
    model: the net that was trained.
    evaluator: measures; called with the net and the data.
    data_dir: a converted data set with the same classes; the one that was trained on by default.
    checkpoint_choice: "latest" or "best".
    weights: "raw", or "ema" for the averages of a run that keeps them.
    posteriors: whether those of every image are kept too, for --job=fuse.
    repeat: whether to measure again what was measured with this checkpoint on this data.
    processes: those that share the images, this one alone by default; the first prints and writes.

  Raises:
    UsageError: the net was trained on other classes, or the processes would measure differently.
    IntegrityError: there is no checkpoint, an image cannot be read, or not all were counted.
    DivergedError: an answer is not finite.
    PeerError: another process was lost.
  """
  with processes() as together:
    folder = workdirs.Workdir(workdir)
    facts = folder.read_facts()
    if not any(folder.checkpoints.glob("step-*")):
      raise errors.IntegrityError(
        f"{folder.path} holds no checkpoint yet; train, or wait for the first to be saved"
      )
    net, _ = trained.load_model(folder, facts, model, checkpoint_choice, weights)
    data_dir = data_dir or facts.data_dir
    evaluator = evaluator(net, data_dir)
    if tuple(text for _, text in evaluator.labels) != facts.labels:
      raise errors.UsageError(
        f"the net was trained on other classes than those of {data_dir}: labels.txt must be the "
        "same"
      )
    data_sha256 = hashlib.sha256(evaluator.manifest.to_json().encode()).hexdigest()

    def describe(predictor: contracts.Predictor) -> dict:
      return measurement.describe(predictor, net, evaluator.remark, evaluator.split, data_sha256)

    nets = describe(evaluator.predictor)["nets"]
    agreement.require(
      together,
      checkpoints=json.dumps([one["checkpoint_sha256"] for one in nets]),
      protocols=f"{evaluator.protocol}, {evaluator.split}, {weights}, posteriors {posteriors}",
      data=data_sha256,
    )
    lines = [] if repeat else _known(folder, evaluator.predictor, describe, posteriors)
    if together.exchange(bool(lines))[0]:
      _log.info("nothing to do: all was measured with this checkpoint on this data")
    else:
      share = evaluator.measure(posteriors, **agreement.share(together))
      for measured in gathering.gather(together, share) or ():
        description = describe(measured.predictor)
        kept = _keeps_answers(measured.predictor, evaluator.predictor)
        if kept and measured.answers is not None:
          answers.save(folder.path, answers.Kept(measured.answers, facts.labels, description))
        lines += measurement.lines(description, measured.means)
      if lines:
        folder.append_results(lines)
    if together.rank == 0:
      print(summary.text([summary.measurement(line) for line in lines]))


def _keeps_answers(one: contracts.Predictor, whole: contracts.Predictor) -> bool:
  """Returns whether the answers of a member of a predictor are kept: of the whole and of means."""
  return one is whole or hasattr(one, "members")


def _known(
  folder: workdirs.Workdir,
  predictor: contracts.Predictor,
  describe: Callable[[contracts.Predictor], dict],
  posteriors: bool,
) -> list[dict]:
  """Returns the lines of equal measurements, none where not all were made or kept as is wanted."""
  members = getattr(predictor, "members", (predictor,))
  wanted = [describe(one)["details"] for one in members]
  found = [line for line in measurement.newest(folder.read_results()) if line["details"] in wanted]
  if {line["details"] for line in found} != set(wanted):
    return []
  for one, details in zip(members, wanted, strict=True):
    path = folder.path / answers.FOLDER / details / answers.NAME
    if _keeps_answers(one, predictor) and not _has(path, posteriors):
      return []
  return found


def _has(path: Path, posteriors: bool) -> bool:
  """Returns whether answers were kept there, with the posteriors if these are wanted."""
  return path.exists() and not (posteriors and answers.load(path).answers.posteriors is None)
