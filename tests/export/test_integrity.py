"""S4: a bit that flips is found, and the file is named."""

import pathlib
import shutil
import subprocess

import pytest

from tests.export import nets
from vggtf import errors
from vggtf.export import integrity

SOURCE = nets.exported_dense


@pytest.fixture
def folder(tmp_path):
  return pathlib.Path(shutil.copytree(SOURCE()[1], tmp_path / "70"))


def test_an_export_is_whole(folder):
  assert integrity.check(folder) == {"form": "variables", "tolerance": 1e-5}
  subprocess.run(
    ["sha256sum", "--check", "--strict", "--quiet", integrity.SUMS], cwd=folder, check=True
  )
  listed = {line.split("  ")[1] for line in (folder / integrity.SUMS).read_text().splitlines()}
  assert listed == {
    "assets/labels.txt",
    "assets.extra/origin.json",
    "assets.extra/tf_serving_warmup_requests",
    "batching_params.pbtxt",
    "saved_model.pb",
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
  }


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_flipped_bit_is_named(folder, name):
  path = folder / name
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  with pytest.raises(errors.IntegrityError, match=f"{name} is damaged; export again") as error:
    integrity.check(folder)
  assert error.value.exit_code == 4


def test_all_that_changed_is_named(folder):
  (folder / "variables" / "variables.index").unlink()
  (folder / "assets" / "more.txt").write_text("")
  (folder / "assets" / "labels.txt").write_text("other\n")
  problems = (
    "variables/variables.index is missing, assets/more.txt was added, assets/labels.txt is damaged"
  )
  with pytest.raises(errors.IntegrityError, match=problems):
    integrity.check(folder)


def test_what_is_no_export_is_a_mistake(folder, tmp_path):
  for wrong in (tmp_path, tmp_path / "gone", folder / "saved_model.pb"):
    with pytest.raises(errors.UsageError, match=f"--export={wrong} is no export"):
      integrity.check(wrong)
  (folder / integrity.SUMS).write_text("nothing")
  with pytest.raises(errors.IntegrityError, match="SHA256SUMS is damaged"):
    integrity.check(folder)
