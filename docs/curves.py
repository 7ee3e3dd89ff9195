"""Plots a run's curves from its TensorBoard logs: python docs/curves.py RUN out.png ([dev])."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from tensorboard.backend.event_processing import event_accumulator, tag_types
from tensorboard.util.tensor_util import make_ndarray


def read(folder: Path, tag: str) -> tuple[list[int], list[float]]:
  """Returns the steps and values of a scalar."""
  events = event_accumulator.EventAccumulator(str(folder), {tag_types.TENSORS: 0}).Reload()
  points = events.Tensors(tag)
  return [p.step for p in points], [float(make_ndarray(p.tensor_proto)) for p in points]


def main(run: Path, picture: Path) -> None:
  """Writes the picture."""
  plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
  _, (loss, error) = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
  loss.plot(*read(run / "logs" / "train", "loss"), color="#334e8c", marker=".")
  loss.set(title="training loss", xlabel="step", ylim=0)
  for split, colour in (("train", "#334e8c"), ("validation", "#d1495b")):
    steps, values = read(run / "logs" / split, "top1_error")
    error.plot(steps, [100 * v for v in values], color=colour, marker=".", label=split)
  error.set(title="top-1 error, %", xlabel="step", yscale="log")
  error.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
  error.legend(frameon=False)
  plt.savefig(picture, dpi=110)


if __name__ == "__main__":
  main(Path(sys.argv[1]), Path(sys.argv[2]))
