"""--job=cluster_check: do all tasks of TF_CONFIG find one another? Run it before a long training.

It is started on every host at once, as the training will be, and needs no TensorFlow.
"""

from __future__ import annotations

from vggtf.training import cluster, meeting


def run(timeout: float = 600.0) -> None:
  """Checks TF_CONFIG, this task's port, that every two tasks reach each other, and their versions.

  Args:
    timeout: seconds to wait for the other tasks.

  Raises:
    UsageError: TF_CONFIG cannot be right, or tasks differ in it, or in a version.
    EnvironmentFault: the port is taken.
    PeerError: a task did not come; it is named.
  """
  found = cluster.require("--job=cluster_check")
  versions = ", ".join(
    f"{name} {version}" for name, version in meeting.check(found, timeout).items()
  )
  print(f"{found.own}: all {len(found.tasks)} tasks reach one another; {versions}")
