"""Plots a run's curves from its TensorBoard logs: python docs/curves.py RUN out.png ([dev])."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from vggtf.reports import scalars


def main(run: Path, picture: Path) -> None:
  """Writes the picture."""
  plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
  _, (loss, error) = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
  found = {split: scalars.read(run / "logs" / split) for split in ("train", "validation")}
  loss.plot(*zip(*found["train"]["loss"], strict=True), color="#334e8c", marker=".")
  loss.set(title="training loss", xlabel="step", ylim=0)
  for split, colour in (("train", "#334e8c"), ("validation", "#d1495b")):
    steps, values = zip(*found[split]["top1_error"], strict=True)
    error.plot(steps, [100 * v for v in values], color=colour, marker=".", label=split)
  error.set(title="top-1 error, %", xlabel="step", yscale="log")
  error.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
  for axes in (loss, error):
    axes.locator_params(axis="x", nbins=5)
  error.legend(frameon=False)
  plt.savefig(picture, dpi=110)


if __name__ == "__main__":
  main(Path(sys.argv[1]), Path(sys.argv[2]))
