"""The command chooses images by its seed, and says what it cannot do."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from data_tools import contact_sheet, show
from tests.data_tools import bucket
from vggtf import errors

SHARD = "scale_32/train-00001-of-00003"


@pytest.fixture
def chosen(monkeypatch):
  """Returns the list that the records of each drawn sheet are added to."""
  make, drawn = contact_sheet.make, []

  def spy(records, classes):
    drawn.append(list(records))
    return make(records, classes)

  monkeypatch.setattr(contact_sheet, "make", spy)
  return drawn


def run(*arguments) -> int:
  return errors.run_command(lambda: show.main([str(argument) for argument in arguments]))


def test_sheet_is_a_png_of_the_images_of_a_split(converted, tmp_path, chosen, capsys, read_records):
  sheet = tmp_path / "sheet.png"
  assert run(converted, "--n=5", "--to", sheet) == 0
  assert capsys.readouterr().out == f"{sheet}: 5 of the 30 images of train, scale 32\n"
  with Image.open(sheet) as image:
    assert image.format == "PNG"
    assert image.size == (3 * 268 + 12, 2 * 302 + 12)
  (records,) = chosen
  stored = {record.id: record for record in read_records(converted, 32, "train")}
  assert len({record.id for record in records}) == 5
  assert all(stored[record.id] == record for record in records)
  assert list(tmp_path.iterdir()) == [sheet]


def test_seed_alone_decides_which(converted, tmp_path, chosen):
  for seed in (0, 0, 1):
    assert run(converted, "--n=4", f"--seed={seed}", "--to", tmp_path / f"{seed}.png") == 0
  first, again, other = ([record.id for record in records] for records in chosen)
  assert first == again
  assert first != other


def test_scale_and_split_are_chosen(converted, tmp_path, chosen):
  arguments = ("--scale=40", "--split=validation", "--n=99", "--to", tmp_path / "a.png")
  assert run(converted, *arguments) == 0
  (records,) = chosen
  assert len({record.id for record in records}) == 12
  assert {record.scale for record in records} == {40}
  assert all(record.id.startswith("validation/") for record in records)


def test_only_a_class_is_shown(converted, tmp_path, chosen, capsys):
  assert run(converted, "--class=n02", "--n=10", "--to", tmp_path / "a.png") == 0
  assert {record.synset for record in chosen[0]} == {"n02"}
  assert len({record.id for record in chosen[0]}) == 10
  assert "10 of the 10 images of class n02 in train" in capsys.readouterr().out


def test_originals_are_shown_where_nothing_else_is_stored(pictures, run_convert, tmp_path, chosen):
  assert run_convert(pictures, tmp_path / "set", scales="0") == 0
  assert run(tmp_path / "set", "--to", tmp_path / "a.png") == 0
  assert {record.scale for record in chosen[0]} == {0}


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["--n=0"], "--n: got 0, expected 1..400 images"),
    (["--n=401"], "--n: got 401, expected 1..400 images"),
    (["--seed=-1"], "--seed: got -1, expected 0.."),
    (["--to=a.jpg"], "--to: got 'a.jpg', expected a name that ends in .png"),
    (["--split=test"], "--split: got 'test', expected one of train, validation"),
    (["--scale=256"], "--scale: got 256, expected one of (32, 40)"),
    (["--class=n2"], "there is no class 'n2'; did you mean 'n0"),
    (["--class=????"], "there is no class '????'; labels.txt lists the names"),
    (["--colour"], "unknown option --colour"),
  ],
)
def test_mistake_is_one_line_with_what_was_expected(converted, tmp_path, capsys, arguments, said):
  assert run(converted, "--to", tmp_path / "a.png", *arguments) == 2
  error = capsys.readouterr().err
  assert said in error
  assert error.count("\n") == 1
  assert not list(tmp_path.iterdir())


def test_what_is_no_data_set_is_refused(tmp_path, capsys):
  assert run(tmp_path / "nowhere", "--to", tmp_path / "a.png") == 2
  assert run(tmp_path, "--to", tmp_path / "a.png") == 4
  assert "manifest.json is missing" in capsys.readouterr().err


def test_damage_is_named(copied, tmp_path, capsys):
  data = bytearray((copied / SHARD).read_bytes())
  data[-1] ^= 1
  (copied / SHARD).write_bytes(data)
  assert run(copied, "--n=30", "--to", tmp_path / "a.png") == 4
  assert f"{SHARD}: damaged record" in capsys.readouterr().err
  (copied / SHARD).unlink()
  assert run(copied, "--n=30", "--to", tmp_path / "a.png") == 4
  assert f"{SHARD} is missing in" in capsys.readouterr().err
  assert not (tmp_path / "a.png").exists()


def test_sheet_and_set_may_be_in_a_bucket(converted, tmp_path, monkeypatch):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path)
  shutil.copytree(converted, tmp_path / "b" / "set")
  assert run(converted, "--to", tmp_path / "here.png") == 0
  assert run(f"{bucket.SCHEME}://b/set", "--to", f"{bucket.SCHEME}://b/there.png") == 0
  assert (tmp_path / "b" / "there.png").read_bytes() == (tmp_path / "here.png").read_bytes()


def test_sheet_replaces_an_old_one(converted, tmp_path):
  (tmp_path / "a.png").write_bytes(b"old")
  assert run(converted, "--n=1", "--to", tmp_path / "a.png") == 0
  pixels = np.asarray(Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())))
  assert pixels.shape == (314, 280, 3)


def test_folder_is_no_sheet_and_no_manifest(converted, tmp_path, capsys):
  (tmp_path / "a.png").mkdir()
  assert run(converted, "--to", tmp_path / "a.png") == 2
  assert "a.png is a folder, expected the name of a file" in capsys.readouterr().err
  (tmp_path / "manifest.json").mkdir()
  assert run(tmp_path, "--to", tmp_path / "b.png") == 4
