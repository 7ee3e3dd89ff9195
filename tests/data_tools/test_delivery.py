"""--resume takes what was made of this input, by these options, and nothing else."""

import os
import shutil

import pytest

from data_tools import verify
from data_tools.shard_file import ShardFile
from tests.data_tools import bucket
from vggtf import errors, manifest, owner

BAD = "train/n01/n01_1.JPEG"  # truncated in `damaged`


def run_verify(folder) -> int:
  return errors.run_command(lambda: verify.main([f"--input={folder}"]))


@pytest.fixture
def written(monkeypatch):
  """Returns a list that grows with every shard file that is written."""
  files, commit = [], ShardFile.commit
  monkeypatch.setattr(ShardFile, "commit", lambda file: files.append(0) or commit(file))
  return files


@pytest.fixture
def damaged(pictures, tmp_path):
  """Returns a copy of `pictures` with a bad file."""
  folder = shutil.copytree(pictures, tmp_path / "damaged")
  whole = (folder / BAD).read_bytes()
  (folder / BAD).write_bytes(whole[: len(whole) // 2])
  return folder


@pytest.fixture
def others(pictures, tmp_path, paint, save):
  """Returns a folder of other pictures with the names of `pictures`."""
  folder = shutil.copytree(pictures, tmp_path / "others")
  for at, path in enumerate(sorted(folder.rglob("*.JPEG"))):
    path.write_bytes(save(paint(1000 + at, 40, 50)))
  return folder


@pytest.fixture
def refused(damaged, tmp_path, run_convert):
  """Returns where the conversion of `damaged` should go, whose shards are all finished."""
  assert run_convert(damaged, tmp_path / "out") == errors.RejectedInputError.exit_code
  return tmp_path / "out"


def test_mended_image_is_converted(
  refused, damaged, pictures, converted, run_convert, read_tree, written
):
  shutil.copy(pictures / BAD, damaged / BAD)
  assert run_convert(damaged, refused, "--resume") == 0
  assert read_tree(refused) == read_tree(converted)
  assert len(written) == 2  # its own shard, at two scales


def test_other_images_of_the_same_names_are_converted(
  refused, others, tmp_path, run_convert, read_tree
):
  tolerant = "--max_reject_fraction=0.5"
  assert run_convert(others, refused, "--resume", tolerant) == 0
  assert run_convert(others, tmp_path / "fresh", tolerant) == 0
  assert read_tree(refused) == read_tree(tmp_path / "fresh")


@pytest.fixture
def class_text(tmp_path):
  path = tmp_path / "texts"
  path.write_text("n01\tone\nn02\ttwo\nn03\tthree\n")
  return f"--class_text={path}"


def test_other_class_texts_are_refused(refused, damaged, run_convert, class_text, capsys):
  flags = ("--resume", "--max_reject_fraction=0.5")
  assert run_convert(damaged, refused, *flags, class_text) == errors.UsageError.exit_code
  assert 'classes.0 = ["n01", "n01"], now it is ["n01", "one"]' in capsys.readouterr().err
  assert run_convert(damaged, refused, *flags) == 0
  assert run_verify(refused) == 0


def test_finished_set_is_compared_with_its_input(
  copied, pictures, others, tmp_path, run_convert, read_tree, class_text, written, capsys
):
  before = read_tree(copied)
  moved = shutil.copytree(pictures, tmp_path / "moved", copy_function=shutil.copyfile)
  assert run_convert(moved, copied, "--resume") == 0
  assert "copied is complete" in capsys.readouterr().err
  for input_, flag, said in (
    (others, "", "inputs.train.bytes"),
    (pictures, class_text, "classes.0"),
  ):
    flags = [flag] if flag else []
    assert run_convert(input_, copied, "--resume", *flags) == errors.UsageError.exit_code
    assert f"is complete, with {said} = " in capsys.readouterr().err
  assert read_tree(copied) == before
  assert run_convert(pictures, copied, "--resume", "--overwrite") == 0
  assert written == []
  assert run_convert(others, copied, "--resume", "--overwrite") == 0
  assert len(written) == 2 * (3 + 2)


@pytest.mark.parametrize("replace", [False, True])
def test_set_that_is_whole_but_not_in_its_place_is_put_there(
  converted,
  pictures,
  others,
  tmp_path,
  run_convert,
  read_tree,
  monkeypatch,
  written,
  capsys,
  replace,
):
  output, flags = tmp_path / "out", []
  if replace:
    shutil.copytree(converted, output)
    flags = ["--overwrite"]
  rename = os.rename

  def refuse(source, target):
    if str(source).endswith(".incomplete"):
      raise OSError(5, "Input/output error")
    rename(source, target)

  with monkeypatch.context() as patched:
    patched.setattr(os, "rename", refuse)
    quality = "--quality=90"
    assert run_convert(pictures, output, quality, *flags) == errors.EnvironmentFault.exit_code
  del written[:]
  if not replace:
    assert run_convert(pictures, output, quality) == errors.UsageError.exit_code
    assert "go on with --resume, or start over with --overwrite" in capsys.readouterr().err
  assert run_convert(others, output, quality, "--resume", *flags) == errors.UsageError.exit_code
  assert run_convert(pictures, output, quality, "--resume", *flags) == 0
  assert written == []
  assert run_convert(pictures, tmp_path / "fresh", quality) == 0
  assert read_tree(output) == read_tree(tmp_path / "fresh")
  assert not [name for name in os.listdir(tmp_path) if name.startswith("out.")]


def test_owner_s_file_that_a_kill_has_left_is_no_damage(
  copied, converted, pictures, run_convert, read_tree
):
  (copied / owner.NAME).write_text(owner.write())
  assert run_verify(copied) == 0
  assert run_convert(pictures, copied, "--resume") == 0
  assert read_tree(copied) == read_tree(converted)


def test_bucket_that_was_not_tidied_is(
  pictures, converted, tmp_path, run_convert, read_tree, monkeypatch
):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path)
  shutil.copytree(pictures, tmp_path / "in")
  delete = bucket.Bucket.delete

  def fail(self, paths):
    if (tmp_path / "out" / "set" / manifest.NAME).exists():
      raise OSError(5, "the bucket is away")
    delete(self, paths)

  given = ("bucket://in", "bucket://out/set")
  with monkeypatch.context() as patched:
    patched.setattr(bucket.Bucket, "delete", fail)
    assert run_convert(*given) == errors.EnvironmentFault.exit_code
  assert read_tree(tmp_path / "out" / "set") != read_tree(converted)
  assert run_convert(*given, "--resume") == 0
  assert read_tree(tmp_path / "out" / "set") == read_tree(converted)
