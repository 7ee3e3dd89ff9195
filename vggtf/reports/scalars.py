"""The curves of a run, read from TensorBoard's files."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator, tag_types
from tensorboard.util import tensor_util

Points = list[tuple[int, float]]


def read(folder: Path) -> dict[str, Points]:
  """Returns the points, (step, value), of each scalar by its name; none where there is no folder.

  A run that was taken up again has written some steps twice, or goes on otherwise than before: from
  where a later sitting begins, its points alone count. What a crash cut short is passed over.
  """
  if not folder.is_dir():
    return {}
  everything = {tag_types.TENSORS: 0}
  events = event_accumulator.EventAccumulator(str(folder), everything, purge_orphaned_data=False)
  events.Reload()
  found = {}
  for tag in events.Tags()[tag_types.TENSORS]:
    if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
      found[tag] = _in_order(
        [
          (one.step, tensor_util.make_ndarray(one.tensor_proto).item())
          for one in sorted(events.Tensors(tag), key=lambda one: one.wall_time)
        ]
      )
  return found


def _in_order(written: Points) -> Points:
  """Returns points of growing steps, of those in the order in which they were written."""
  points: Points = []
  for step, value in written:
    while points and points[-1][0] >= step:
      points.pop()
    points.append((step, value))
  return points
