"""Whether a loss, a net's head and the labels of images go together."""

from __future__ import annotations

from vggtf import contracts, errors


def check(loss: contracts.Loss, outputs: contracts.Outputs, label) -> None:
  """Raises UsageError where a loss of classes is given a net or images of another kind.

  A loss of boxes, which has a `judge`, checks for itself.
  """
  if hasattr(loss, "judge"):
    return
  if outputs.logits is None:
    raise errors.UsageError(
      "the net has no classes to train: its head is another than 'classifier'"
    )
  if isinstance(label, contracts.Located):
    raise errors.UsageError(
      f"TrainingFeed.boxes = True, but {type(loss).__name__} is no loss of boxes: bind "
      "LOSS = @boxes.Euclidean, as gin/with/boxes.gin does"
    )
