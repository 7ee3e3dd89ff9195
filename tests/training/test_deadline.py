import subprocess
import sys
import time

import pytest

from tests import commands
from vggtf import errors
from vggtf.training import deadline


def test_steps_in_time_are_left_alone():
  assert deadline.limit(lambda count: -count, 30.0)(3) == -3
  with pytest.raises(ZeroDivisionError):
    deadline.limit(lambda count: count / 0, 30.0)(3)
  assert deadline.limit(time.sleep, None) is time.sleep


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_a_deadline_is_a_time(seconds):
  with pytest.raises(errors.UsageError, match=r"step_deadline = .*: expected seconds, more than 0"):
    deadline.limit(time.sleep, seconds)


LATE = """
import time
from vggtf.training import deadline
def stuck(count):
  time.sleep(600 if count == 4 else 0.1)
limited = deadline.limit(stuck, 0.05)
limited(1)  # is late, but may compile
limited(4)
"""


def test_steps_that_never_end_end_the_process_and_say_where_they_were():
  """T6."""
  done = subprocess.run(
    [sys.executable, "-c", LATE], cwd=commands.ROOT, capture_output=True, text=True
  )
  assert done.returncode == 7
  assert 'File "<string>", line 5 in stuck' in done.stderr
  assert done.stderr.splitlines()[-1].startswith(
    "vggtf: ERROR 7: 4 steps are not done after 0.2 s, 0.05 s for each (train.run.step_deadline)"
  )
