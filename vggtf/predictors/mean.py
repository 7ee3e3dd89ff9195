"""The mean of what several predictors say: scales, techniques and nets are combined by it."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from vggtf import contracts, errors, images


class Mean(tf.Module):
  """Averages posteriors, all parts alike (sections 3.2, 4.3 and 4.4).

  With dense and multi-crop for its parts it is the paper's combination of the two. What its parts
  say is computed on the way, and an evaluation measures it too (`contracts.Predictor.each`).

  Args:
    model: the net that the parts are made for.
    predictors: constructors of the parts.
    name: of the protocol, also a folder's.
  """

  def __init__(
    self,
    model: contracts.Model,
    predictors: Sequence[Callable[[contracts.Model], contracts.Predictor]],
    name: str = "mean",
  ):
    self._average(name, [predictor(model) for predictor in predictors])

  def _average(self, name: str, parts: Sequence[contracts.Predictor]) -> None:
    """Is the constructor, with the parts as they are."""
    if not name.isidentifier():
      raise errors.UsageError(f"the name of a predictor is {name!r}: expected letters, digits, _")
    super().__init__(name)
    if not parts:
      raise errors.UsageError(f"{name}: a mean of no predictors; name one or more")
    self.parts = tuple(parts)

  @property
  def members(self) -> tuple[contracts.Predictor, ...]:
    """All whose answers `each` returns, this one last."""
    inner = (one for part in self.parts for one in getattr(part, "members", (part,)))
    return (*inner, self)

  @property
  def scales(self) -> tuple[int, ...]:
    return tuple(sorted({scale for part in self.parts for scale in part.scales}))

  @property
  def scale(self) -> int:
    return self.scales[len(self.scales) // 2]

  @property
  def sees(self) -> str:
    return "_and_".join(sorted({part.sees for part in self.parts}))

  @property
  def fixed_size(self) -> bool:
    return all(part.fixed_size for part in self.parts)

  def prepare(self, image: images.Picture) -> dict[str, tf.Tensor]:
    """Returns the views of all that are no means themselves, equal ones once."""
    leaves = [one for one in self.members if not isinstance(one, Mean)]
    return {sees: leaf.prepare(image) for sees, leaf in {one.sees: one for one in leaves}.items()}

  def each(self, views: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """Returns float32 [N, classes] posteriors of each of `members`, in their order."""
    answers, own = [], []
    for part in self.parts:
      with tf.control_dependencies(answers):  # side by side their maps could fill the memory
        found = part.each(views) if isinstance(part, Mean) else (part(views[part.sees]),)
      answers += found
      own.append(found[-1])
    return (*answers, tf.add_n(own) / len(own))

  def __call__(self, views: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns float32 [N, classes] posteriors."""
    return self.each(views)[-1]

  def describe(self) -> str:
    return " and ".join(dict.fromkeys(part.describe() for part in self.parts))
