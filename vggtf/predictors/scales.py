"""Smallest sides that pictures are tested at, the paper's Q (section 3.2)."""

from collections.abc import Iterable

from vggtf import contracts, errors

_USUAL = 256


def choose(option: str, scale: int | None, model: contracts.Model) -> int:
  """Returns `scale`, the value of this option; where it is None, the paper's for one scale.

  That is S, or 0.5 (S_min + S_max) where it was jittered (section 4.1), or 256 where the S that the
  net was trained at is not known.

  Raises:
    UsageError: no crop fits into it, or the net ends in something else than classes.
  """
  if (end := getattr(model, "ends_in", "logits")) != "logits":
    raise errors.UsageError(
      f"{option.partition('.')[0]} asks for classes, but the net ends in {end}: evaluate, predict "
      "and export with a net whose head is 'classifier'; gin/eval/localisation.gin measures boxes"
    )
  if scale is None:
    trained = trained_at(model)
    scale = sum(trained) // 2 if trained else _USUAL
  if scale < model.input_size:
    raise errors.UsageError(
      f"{option} = {scale} is smaller than the net's input of {model.input_size} pixels"
    )
  return scale


def trained_at(model: contracts.Model) -> tuple[int, int] | None:
  """Returns the smallest and the largest S of a net's training; None where they are not known."""
  source = getattr(model, "source", None)
  return source and source.trained_at


def spell(scales: Iterable[int]) -> str:
  """Returns scales as protocols write them: "256,384,512"."""
  return ",".join(map(str, scales))
