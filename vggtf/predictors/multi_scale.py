"""Multi-scale evaluation (section 4.2): the mean of the posteriors at several Q."""

from collections.abc import Callable, Sequence

from vggtf import contracts, errors
from vggtf.predictors import mean
from vggtf.predictors import scales as scales_

_SPREAD = 32  # section 4.2: Q = {S - 32, S, S + 32} for a net trained at fixed S


class MultiScale(mean.Mean):
  """A predictor at several scales, averaged.

  Args:
    model: the net.
    predictor: constructor of what is averaged, called with the net and each `scale`.
    scales: the Q, pixels; None for the paper's, from the S that the net was trained at:
      {S - 32, S, S + 32}, or {S_min, 0.5 (S_min + S_max), S_max} where S was jittered.
  """

  def __init__(
    self,
    model: contracts.Model,
    predictor: Callable[..., contracts.Predictor],
    scales: Sequence[int] | None = None,
  ):
    parts = [predictor(model, scale=scale) for scale in scales or _of_the_paper(model)]
    self._average(f"multi_scale_{parts[0].name}", parts)

  def describe(self) -> str:
    return self.parts[0].describe(self.scales)


def _of_the_paper(model: contracts.Model) -> tuple[int, int, int]:
  trained_at = scales_.trained_at(model)
  if trained_at is None:
    raise errors.UsageError(
      "MultiScale.scales is not bound, and at which S the net was trained is not known: bind them, "
      "such as --gin_param='MultiScale.scales = (256, 384, 512)'"
    )
  smallest, largest = trained_at
  if smallest < largest:
    return smallest, (smallest + largest) // 2, largest
  scales, least = _around(smallest), model.input_size
  if scales[0] < least:
    raise errors.UsageError(
      f"MultiScale.scales is not bound, and the paper's for S = {smallest}, {scales}, begin below "
      f"the net's input of {least} pixels: bind others, such as "
      f"--gin_param='MultiScale.scales = {_around(least + _SPREAD)}'"
    )
  return scales


def _around(scale: int) -> tuple[int, int, int]:
  return scale - _SPREAD, scale, scale + _SPREAD
