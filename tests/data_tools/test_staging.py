"""The folder appears whole or not at all, whatever happens on the way."""

import os
import subprocess
import sys

import pytest

from data_tools import storage
from data_tools.staging import stage, stage_remote
from tests.data_tools.bucket import Bucket
from vggtf import errors


@pytest.fixture
def output(tmp_path):
  return tmp_path / "sub" / "out"


def write(folder, name, text):
  storage.write_file(os.path.join(folder, name), text.encode())


def fill(output, overwrite=False, text="new"):
  with stage(str(output), "a", overwrite) as folder:
    write(folder, "a", text)


def test_finished_folder_has_its_name_and_nothing_else(output):
  fill(output)
  assert os.listdir(output.parent) == ["out"]
  assert os.listdir(output) == ["a"]
  assert (output / "a").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_failure_leaves_nothing(output, error):
  def fail():
    with stage(str(output), "a", False) as folder:
      write(folder, "a", "half")
      assert not output.exists()
      raise error

  with pytest.raises(error):
    fail()
  assert os.listdir(output.parent) == []


def test_empty_output_is_used(output):
  output.mkdir(parents=True)
  fill(output, text="used")
  assert (output / "a").read_text() == "used"


@pytest.mark.parametrize("there", [None, "empty", "full"])
def test_link_stays_and_leads_to_the_new_folder(output, tmp_path, there):
  disk = tmp_path / "disk"
  if there:
    (disk / "big").mkdir(parents=True)
  if there == "full":
    write(disk / "big", "a", "old")
  output.parent.mkdir()
  output.symlink_to(disk / "big")
  fill(output, overwrite=there == "full")
  assert output.readlink() == disk / "big"
  assert os.listdir(disk) == ["big"]
  assert (output / "a").read_text() == "new"


def test_mounted_disk_is_refused_before_the_work(output, monkeypatch):
  output.mkdir(parents=True)
  monkeypatch.setattr(os.path, "ismount", lambda path: path == str(output))
  with pytest.raises(errors.UsageError, match="is a mount point"):
    fill(output)


def test_full_output_is_refused_and_untouched(output):
  fill(output, text="old")
  with pytest.raises(errors.UsageError, match=r"is not empty.*--overwrite"):
    fill(output)
  assert (output / "a").read_text() == "old"


def test_file_in_the_way_is_refused(output):
  output.parent.mkdir()
  output.write_text("a file")
  with pytest.raises(errors.UsageError, match="is a file"):
    fill(output, overwrite=True)


def test_file_above_is_refused(tmp_path):
  (tmp_path / "file").touch()
  for output in (tmp_path / "file" / "out", tmp_path / "file" / "a" / "out"):
    with pytest.raises(errors.UsageError, match="lies below the file"):
      fill(output)


def test_folder_that_cannot_be_made_is_a_fault_of_the_machine(output, monkeypatch):
  make = os.mkdir

  def refuse(path, *mode):
    if str(path).endswith(".incomplete"):
      raise PermissionError(13, "Permission denied", path)
    make(path, *mode)

  monkeypatch.setattr(os, "mkdir", refuse)
  expected = rf"^--output={output} cannot be made \(Permission denied\); give permission"
  with pytest.raises(errors.EnvironmentFault, match=expected):
    fill(output)


def test_overwriting_replaces_at_the_end(output):
  fill(output, text="old")
  with stage(str(output), "a", True) as folder:
    write(folder, "b", "new")
    assert (output / "a").read_text() == "old"
  assert os.listdir(output) == ["b"]
  assert os.listdir(output.parent) == ["out"]


def test_failed_overwriting_keeps_the_old(output):
  fill(output, text="old")
  with pytest.raises(ValueError, match="stop"), stage(str(output), "a", True):
    raise ValueError("stop")
  assert (output / "a").read_text() == "old"
  assert os.listdir(output.parent) == ["out"]


def test_failed_renaming_brings_the_old_back(output, monkeypatch):
  fill(output, text="old")
  rename = os.rename

  def refuse(source, target):
    if str(source).endswith(".incomplete"):
      raise OSError(5, "Input/output error")
    rename(source, target)

  monkeypatch.setattr(os, "rename", refuse)
  with pytest.raises(OSError, match="Input/output"):
    fill(output, overwrite=True)
  assert (output / "a").read_text() == "old"


def test_kill_between_the_renames_is_mended(output):
  fill(output, text="old")
  os.rename(output, f"{output}.replaced-by-vggtf")
  with pytest.raises(errors.UsageError, match="is not empty"):
    fill(output)
  assert (output / "a").read_text() == "old"


def test_broken_off_run_is_swept(output):
  left = output.parent / "out.incomplete"
  (left / "scale_32").mkdir(parents=True)
  (left / "scale_32" / "train-00000-of-00001.tmp-1").write_text("half")
  (left / "owner.json").write_text("{}")
  fill(output)
  assert os.listdir(output) == ["a"]


def test_foreign_folder_is_not_swept(output):
  left = output.parent / "out.incomplete"
  left.mkdir(parents=True)
  (left / "thesis.txt").write_text("years")
  with pytest.raises(errors.UsageError, match="something else"):
    fill(output)
  assert (left / "thesis.txt").read_text() == "years"


def test_second_process_is_refused_and_names_the_first(output, repository):
  program = (
    "import sys\nfrom data_tools.staging import stage\n"
    "with stage(sys.argv[1], 'a', False): print('in', flush=True); sys.stdin.read()\n"
  )
  first = subprocess.Popen(
    [sys.executable, "-c", program, str(output)],
    cwd=repository,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  try:
    assert first.stdout.readline() == b"in\n"
    with pytest.raises(errors.UsageError, match=f"another process .pid {first.pid} on"):
      fill(output)
    first.kill()  # the lock ends with its owner
    first.wait()
    fill(output)
  finally:
    first.kill()
    first.communicate()
  assert (output / "a").read_text() == "new"


def has_a(folder):
  return os.path.exists(os.path.join(folder, "a"))


def break_off(output):
  def fail():
    with stage(str(output), "a", is_valuable=has_a) as folder:
      write(folder, "a", "half the work")
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fail()


def test_what_is_valuable_is_kept_and_not_swept_unasked(output):
  break_off(output)
  assert os.listdir(output.parent) == ["out.incomplete"]
  with (
    pytest.raises(errors.UsageError, match="go on with --resume, or start over with --overwrite"),
    stage(str(output), "a", is_valuable=has_a),
  ):
    raise AssertionError("not reached")
  assert (output.parent / "out.incomplete" / "a").read_text() == "half the work"


def test_resuming_goes_on_with_it(output):
  break_off(output)
  with stage(str(output), "a", resume=True, is_valuable=has_a) as folder:
    write(folder, "b", "the other half")
  assert sorted(os.listdir(output)) == ["a", "b"]
  assert os.listdir(output.parent) == ["out"]


def test_overwriting_starts_over(output):
  break_off(output)
  with stage(str(output), "a", overwrite=True, is_valuable=has_a) as folder:
    write(folder, "b", "all of it")
  assert os.listdir(output) == ["b"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_kill_before_the_last_renaming_leaves_what_a_run_goes_on_with(
  output, repository, overwrite
):
  if overwrite:
    fill(output, text="old")
  program = (
    "import os, sys\nfrom data_tools.staging import stage\nrename = os.rename\n"
    "def kill(source, target):\n"
    "  os._exit(137) if source.endswith('.incomplete') else rename(source, target)\n"
    "with stage(sys.argv[1], 'a', overwrite=len(sys.argv) > 2) as folder:\n"
    "  open(folder + '/a', 'w').write('new')\n  os.rename = kill\n"
  )
  flags = ["overwrite"] if overwrite else []
  done = subprocess.run([sys.executable, "-c", program, str(output), *flags], cwd=repository)
  assert done.returncode == 137
  assert not output.exists()
  with stage(str(output), "a", overwrite, resume=True, is_valuable=has_a) as folder:
    assert storage.read_file(os.path.join(folder, "a")) == b"new"
    assert output.exists() == overwrite  # the old one is back meanwhile
  assert os.listdir(output) == ["a"]
  assert (output / "a").read_text() == "new"
  assert os.listdir(output.parent) == ["out"]


def test_half_emptied_folder_is_neither_whole_nor_foreign(output, monkeypatch):
  break_off(output)
  left = output.parent / "out.incomplete"
  for name in "bcd":
    write(left, f"{name}/file", "more")

  def kill(path):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr("shutil.rmtree", kill)
    with pytest.raises(KeyboardInterrupt):
      fill(output, overwrite=True)
  assert sorted(os.listdir(left)) == ["b", "c", "d", "owner.json"]
  fill(output)
  assert os.listdir(output) == ["a"]


def test_bucket_is_filled_in_place_and_nothing_in_it_replaced(tmp_path, monkeypatch):
  monkeypatch.setattr(Bucket, "root", tmp_path)
  output = "bucket://data/set"

  def fail():
    with stage_remote(output) as folder:
      storage.write_file(storage.join(folder, "a"), b"half")
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fail()
  with (
    pytest.raises(errors.UsageError, match=rf"not empty .pid {os.getpid()} on .*--resume"),
    stage_remote(output),
  ):
    raise AssertionError("not reached")
  with stage_remote(output, resume=True) as folder:
    assert folder == output
    storage.write_file(storage.join(folder, "b"), b"whole")
  assert [path for path, _ in storage.list_files(output)] == ["a", "b"]
  with pytest.raises(errors.UsageError, match="choose another"), stage_remote(output, resume=True):
    raise AssertionError("not reached")


def test_what_is_no_such_folder_is_never_replaced(output):
  output.mkdir(parents=True)
  (output / "thesis.txt").write_text("years")
  for overwrite in (False, True):
    with pytest.raises(errors.UsageError, match=r"holds something else .there is no a."):
      fill(output, overwrite)
  assert (output / "thesis.txt").read_text() == "years"


def test_what_came_meanwhile_stays_and_so_does_the_work(output):
  def fail():
    with stage(str(output), "a", is_valuable=has_a) as folder:
      write(folder, "a", "the work")
      output.mkdir()
      (output / "a").write_text("another's")

  with pytest.raises(errors.UsageError, match="is not empty"):
    fail()
  assert (output / "a").read_text() == "another's"
  with stage(str(output), "a", overwrite=True, resume=True, is_valuable=has_a) as folder:
    assert has_a(folder)
  assert (output / "a").read_text() == "the work"
