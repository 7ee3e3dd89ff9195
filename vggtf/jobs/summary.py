"""--job=summary: prints what a run did and where things are."""

from vggtf import workdir as workdirs
from vggtf.reports import summary


def run(workdir: str) -> None:
  """Prints the table of a run.

  Args:
    workdir: the run's folder.
  """
  for name, value in summary.rows(workdirs.Workdir(workdir)):
    print(f"{name:<12} {value}")
