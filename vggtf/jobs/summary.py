"""--job=summary: prints what a run did and where things are."""

from vggtf import workdir as workdirs
from vggtf.reports import summary


def run(workdir: str) -> None:
  """Prints a run in a few lines.

  Args:
    workdir: the run's folder.
  """
  print(summary.text(summary.of_run(workdirs.Workdir(workdir))))
