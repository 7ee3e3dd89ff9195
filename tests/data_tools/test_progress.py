"""Progress counts finished files only."""

import time

from data_tools import progress


def test_finished_files_are_counted(tmp_path, write_files):
  files = ("owner.json", "scale_32/train-0", "scale_40/train-0", "scale_40/train-1.tmp-ab")
  write_files(tmp_path, dict.fromkeys(files, b""))
  assert progress.count_files(str(tmp_path)) == 2


def test_lines_say_how_far_and_how_long(tmp_path, write_files, capsys):
  write_files(tmp_path, {"scale_32/train-0": b""})
  with progress.report_progress(str(tmp_path), expected=4, interval=0.02):
    time.sleep(0.1)
  line = capsys.readouterr().err.splitlines()[0]
  assert line.startswith("convert: 1 of 4 files, 0 s, ")
  assert "files/min" in line
  assert "s left" in line


def test_nothing_is_said_in_a_short_run(tmp_path, capsys):
  with progress.report_progress(str(tmp_path), expected=4):
    pass
  assert capsys.readouterr().err == ""
