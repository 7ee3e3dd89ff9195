"""Smallest sides that pictures are tested at, the paper's Q (section 3.2)."""

from collections.abc import Iterable

from vggtf import contracts, errors


def check(option: str, scale: int, model: contracts.Model) -> int:
  """Returns `scale`, the value of this option.

  Raises:
    UsageError: no crop fits into it, or the net ends in something else than classes.
  """
  if (end := getattr(model, "ends_in", "logits")) != "logits":
    raise errors.UsageError(
      f"{option.partition('.')[0]} asks for classes, but the net ends in {end}: evaluate, predict "
      "and export with a net whose head is 'classifier'; gin/eval/localisation.gin measures boxes"
    )
  if scale < model.input_size:
    raise errors.UsageError(
      f"{option} = {scale} is smaller than the net's input of {model.input_size} pixels"
    )
  return scale


def spell(scales: Iterable[int]) -> str:
  """Returns scales as protocols write them: "256,384,512"."""
  return ",".join(map(str, scales))
