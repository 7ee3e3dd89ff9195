"""--job=summary: prints what a run did and where things are."""

import rich.console

from vggtf import workdir as workdirs
from vggtf.reports import summary


def run(workdir: str) -> None:
  """Prints the table of a run.

  Args:
    workdir: the run's folder.
  """
  rich.console.Console(soft_wrap=True).print(summary.table(workdirs.Workdir(workdir)))
