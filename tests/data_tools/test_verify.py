"""The command checks a set here or in a bucket, prints what it found and tells it by exit code."""

import shutil
import subprocess
import sys

import pytest

from data_tools import verify
from tests.data_tools import bucket
from vggtf import errors

SHARD = "scale_32/train-00001-of-00003"


def test_command_prints_a_table(converted, capsys):
  assert verify.main([f"--input={converted}", "--decode=all"]) == 0
  line = next(line for line in capsys.readouterr().out.splitlines() if "scale_40/train" in line)
  assert line.replace(" ", "") == "│scale_40/train│3│30│0.1│30│0│"


def test_command_names_every_problem(copied, capsys):
  (copied / SHARD).unlink()
  (copied / "scale_40" / "extra").write_text("")
  assert errors.run_command(lambda: verify.main([f"--input={copied}"])) == 4
  said = capsys.readouterr()
  assert f"{SHARD}: missing; copy the file again" in said.out
  assert "scale_40/extra: is not in the manifest" in said.out
  assert said.err.startswith(f"vggtf: ERROR 4: 2 problems in {copied}, the first: {SHARD}")


def test_decode_takes_a_number_or_all(converted, capsys):
  for given in ("-1", "some", ""):
    assert (
      errors.run_command(lambda g=given: verify.main([f"--input={converted}", f"--decode={g}"]))
      == 2
    )
  assert "--decode: got 'some', expected a number of images, or all" in capsys.readouterr().err
  assert errors.run_command(lambda: verify.main(["--input=/nowhere/at/all"])) == 2


def test_inspection_imports_no_beam(repository):
  program = "import sys, data_tools.inspection; assert 'apache_beam' not in sys.modules"
  subprocess.run([sys.executable, "-c", program], cwd=repository, check=True)


@pytest.fixture
def in_a_bucket(converted, tmp_path, monkeypatch):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path / "bucket")
  shutil.copytree(converted, tmp_path / "bucket" / "b" / "set")
  return tmp_path / "bucket" / "b" / "set"


def test_set_in_a_bucket_is_checked_alike(in_a_bucket, capsys):
  where = f"--input={bucket.SCHEME}://b/set"
  assert errors.run_command(lambda: verify.main([where, "--decode=all"])) == 0
  data = bytearray((in_a_bucket / SHARD).read_bytes())
  data[-1] ^= 1
  (in_a_bucket / SHARD).write_bytes(data)
  (in_a_bucket / "labels.txt").unlink()
  capsys.readouterr()
  assert errors.run_command(lambda: verify.main([where])) == 4
  said = capsys.readouterr()
  assert "damaged record: wrong checksum" in said.out
  assert "labels.txt: missing" in said.out
  assert "3 problems in" in said.err
  assert errors.run_command(lambda: verify.main([f"--input={bucket.SCHEME}://b/other"])) == 2
