"""What the small files of a run's folder tell, as parts of its page."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from vggtf import errors, workdir
from vggtf.reports import answers, curves, page, scalars, summary

_ROWS = 50  # of the classes and of the confusions
# Title, name of the scalar, whether it is a fraction to be read as percent; errors follow the loss.
_LOSS = ("loss", "loss", False)
_CHARTS = (
  ("learning rate", "learning_rate", False),
  ("images a second", "images_per_second", False),
  ("share of time that images were waited for", "data_wait", True),
  ("length of the gradient", "gradient_norm", False),
)
_LINES = {"training": "train", "validation": "validation"}  # folders of the logs by name


def facts(run: workdir.Workdir) -> list[summary.Row]:
  """Returns the run in a few lines: its summary, where its data are, and its last command."""
  known, sittings = run.read_facts(), run.read_description().get("sittings", ())
  rows = [*summary.of_run(run), ("classes", f"{len(known.labels):,}")]
  rows.append(("data", known.data_dir or "not known"))
  if sittings:
    rows.append(("command", shlex.join(sittings[-1].get("command", ()))))
  return rows


def sittings(run: workdir.Workdir) -> list[tuple[str, ...]]:
  """Returns when, where and by what each part of the training was done, under `page.SITTING`.

  Raises:
    UsageError: the run does not say.
  """
  found = run.read_description().get("sittings")
  if not found:
    raise errors.UsageError(f"{run.facts.name} does not tell how it was trained")
  return [
    (
      str(one.get("start", "?")),
      f"{one.get('first_step', 0):,}",
      str(one.get("host", "?")),
      f"{one.get('cpu', '?')}, {one.get('cpus', '?')} cores",
      ", ".join(one.get("devices", ())) or "?",
      str(one.get("workers") or 1),
      str(one.get("replicas", "?")),
      f"{one.get('version', '?')} {(one.get('commit') or '')[:8]}".strip(),
    )
    for one in found
  ]


def configuration(run: workdir.Workdir) -> str:
  """Returns what was called, defaults included, or what was given.

  Raises:
    UsageError: the run keeps neither.
  """
  for path in (run.operative_config, run.config):
    if path.exists():
      return path.read_text(encoding="utf-8", errors="replace")
  raise errors.UsageError(f"the run has no {run.config.name}")


def charts(run: workdir.Workdir) -> list[curves.Chart]:
  """Returns the curves that TensorBoard would show of the training and its validations.

  Raises:
    UsageError: there are none.
  """
  found = {name: scalars.read(run.logs / folder) for name, folder in _LINES.items()}
  tags = sorted({tag for of_tag in found.values() for tag in of_tag if tag.endswith("_error")})
  of_errors = [(summary.spell(tag), tag, True) for tag in tags]
  drawn = [
    curves.draw(title, {name: of_tag.get(tag, []) for name, of_tag in found.items()}, percent)
    for title, tag, percent in (_LOSS, *of_errors, *_CHARTS)
  ]
  if not any(drawn):
    raise errors.UsageError(f"there are no curves in {run.logs}: nothing was trained here yet")
  return [chart for chart in drawn if chart]


def newest_answers(run: workdir.Workdir) -> answers.Kept:
  """Returns the answers to single images of the last measurement that kept them.

  Raises:
    UsageError: there are none.
    IntegrityError: they are damaged.
  """
  for line in reversed(run.read_results()):
    path = run.path / answers.FOLDER / line.get("details", "") / answers.NAME
    if "details" in line and path.exists():
      return answers.load(path)
  raise errors.UsageError(
    "there are no answers to single images yet: python -m vggtf.main --job=evaluate "
    f"--workdir={run.path}"
  )


def evaluation(kept: answers.Kept) -> page.Evaluation:
  """Returns the errors of the classes, and which are taken for one another."""
  classes, confusions = answers.class_errors(kept), answers.confusions(kept)
  left_out = (max(0, len(classes) - _ROWS), max(0, len(confusions) - _ROWS))
  line = kept.line
  measured = f"{line['protocol']} of step {line['step']}, {len(kept.answers.id):,} images of "
  return page.Evaluation(measured + line["split"], classes[:_ROWS], confusions[:_ROWS], left_out)


def answers_to(kept: answers.Kept, ids: Iterable[str], likeliest: int) -> list[list[page.Answer]]:
  """Returns the first answers to each of some images, none to one that was not asked about."""
  found = kept.answers
  row_of = {one.decode(): row for row, one in enumerate(found.id)}

  def of_row(row: int) -> list[page.Answer]:
    best = found.classes[row, :likeliest].tolist()
    probabilities = found.probabilities[row, :likeliest].tolist()
    return [
      page.Answer(one, kept.labels[one], p) for one, p in zip(best, probabilities, strict=True)
    ]

  return [of_row(row_of[one]) if one in row_of else [] for one in ids]


def mistakes(kept: answers.Kept, count: int, likeliest: int = 3) -> list[page.Mistake]:
  """Returns the surest mistakes, without their pictures.

  Args:
    kept: the answers.
    count: how many, at most.
    likeliest: answers that are told of each.
  """
  worst = answers.worst_mistakes(kept, count)
  given = answers_to(kept, [name for name, *_ in worst], likeliest)
  return [
    page.Mistake(name, label, said, None)
    for (name, label, _, _), said in zip(worst, given, strict=True)
  ]
