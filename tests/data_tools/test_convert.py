"""The command line from end to end: what it writes, and that it writes all of it or nothing."""

import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from data_tools import convert, parts, sharding
from data_tools.shard_file import ShardFile
from vggtf import errors

PROGRAM = (sys.executable, "-m", "data_tools.convert")
FLAGS = ("--scales=32,40", "--shards=train=3,validation=2")


def listed(folder):
  return {str(path.relative_to(folder)) for path in folder.rglob("*.JPEG")}


def test_every_image_is_stored_once_at_every_scale(converted, pictures, read_records):
  for scale in (32, 40):
    ids = [r.id for split in ("train", "validation") for r in read_records(converted, scale, split)]
    assert len(ids) == len(set(ids)) == 42
    assert set(ids) == listed(pictures)


def test_manifest_agrees_with_the_records(converted, read_manifest, read_records):
  content = read_manifest(converted)
  assert content.splits == {"train": 30, "validation": 12}
  assert content.class_counts == {"train": (10, 10, 10), "validation": (4, 4, 4)}
  assert content.labels == (("n01", "n01"), ("n02", "n02"), ("n03", "n03"))
  assert content.rejected == {}
  for name, shards in content.shards.items():
    scale, split = name.removeprefix("scale_").split("/")
    stored = read_records(converted, int(scale), split)
    assert sum(shard.records for shard in shards) == len(stored)
    for shard in shards:
      assert (converted / shard.path).stat().st_size == shard.bytes


def test_pixels_are_those_of_pillow(converted, pictures, read_records):
  for scale in (32, 40):
    for record in read_records(converted, scale, "train"):
      with Image.open(pictures / record.id) as image:
        width, height = image.size
        ratio = np.float64(scale) / min(width, height)
        size = int(np.floor(width * ratio + 0.5)), int(np.floor(height * ratio + 0.5))
        scaled = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
      encoded = simplejpeg.encode_jpeg(np.asarray(scaled), 95, "RGB", "444")
      assert record.encoded == encoded
      assert (record.width, record.height) == size
      assert min(size) == scale
      assert (record.original_width, record.original_height) == (width, height)


def test_statistics_are_those_of_pillow_s_pixels(converted, pictures, read_manifest, read_records):
  scaled = []
  for record in read_records(converted, 32, "train"):
    with Image.open(pictures / record.id) as image:
      size = record.width, record.height
      scaled.append(np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)))
  flat = np.concatenate([rgb.reshape(-1, 3) for rgb in scaled]).astype(np.float64)
  statistics = read_manifest(converted).statistics
  assert statistics.pixels == len(flat)
  np.testing.assert_allclose(statistics.mean_rgb, flat.mean(axis=0), rtol=1e-12)
  np.testing.assert_allclose(statistics.covariance_rgb, np.cov(flat.T, bias=True), rtol=1e-9)
  values, vectors = np.linalg.eigh(np.cov(flat.T, bias=True))
  np.testing.assert_allclose(statistics.eigenvalues, values[::-1], atol=1e-5)
  for row, vector in zip(statistics.eigenvectors, vectors.T[::-1], strict=True):
    assert abs(abs(np.dot(row, vector)) - 1) < 1e-8


def test_shards_hold_what_the_hash_says(converted, read_manifest, read_records):
  in_order = [record.id for record in read_records(converted, 32, "train")]
  by_shard = sorted(in_order, key=lambda i: (sharding.choose_shard(i, 3), sharding.order(i)))
  assert in_order == by_shard
  sizes = [shard.records for shard in read_manifest(converted).shards["scale_32/train"]]
  assert sizes == [sum(sharding.choose_shard(i, 3) == at for i in in_order) for at in range(3)]


def test_tensorflow_reads_the_classic_keys(converted, read_records):
  tf = pytest.importorskip("tensorflow")
  classic = {
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    "image/colorspace": tf.io.FixedLenFeature([], tf.string),
    "image/channels": tf.io.FixedLenFeature([], tf.int64),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
    "image/filename": tf.io.FixedLenFeature([], tf.string),
    "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    "image/class/synset": tf.io.FixedLenFeature([], tf.string),
    "image/class/text": tf.io.FixedLenFeature([], tf.string),
    "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
  }
  files = sorted(str(path) for path in (converted / "scale_40").glob("train-*"))
  examples = [
    tf.io.parse_single_example(serialized, classic) for serialized in tf.data.TFRecordDataset(files)
  ]
  ours = read_records(converted, 40, "train")
  assert len(examples) == len(ours) == 30
  for example, record in zip(examples, ours, strict=True):
    image = tf.io.decode_jpeg(example["image/encoded"], dct_method="INTEGER_ACCURATE")
    np.testing.assert_array_equal(image, simplejpeg.decode_jpeg(record.encoded))
    assert image.shape == (example["image/height"], example["image/width"], 3)
    assert example["image/filename"].numpy().decode() == record.id.split("/")[-1]
    assert example["image/class/synset"].numpy().decode() == record.id.split("/")[1]
    assert example["image/class/label"].numpy() == ("n01", "n02", "n03").index(record.synset)
    assert (example["image/format"], example["image/colorspace"]) == (b"JPEG", b"RGB")


@pytest.mark.parametrize(
  "flag",
  [
    "--runner=DirectRunner",
    "--direct_runner_bundle_repeat=2",
    "--direct_running_mode=multi_threading --direct_num_workers=3",
  ],
)
def test_bytes_do_not_depend_on_the_run(
  converted, pictures, tmp_path, run_convert, read_tree, flag
):
  elsewhere = shutil.copytree(pictures, tmp_path / "moved")
  assert run_convert(elsewhere, tmp_path / "again", *flag.split()) == 0
  assert read_tree(tmp_path / "again") == read_tree(converted)


def test_bytes_do_not_depend_on_processes(converted, pictures, tmp_path, repository, read_tree):
  workers = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
  given = (f"--input={pictures}", f"--output={tmp_path / 'again'}", *FLAGS, *workers)
  subprocess.run([*PROGRAM, *given], cwd=repository, check=True, capture_output=True)
  assert read_tree(tmp_path / "again") == read_tree(converted)


def test_shards_without_images_are_empty_files(pictures, tmp_path, run_convert, read_manifest):
  shutil.copytree(pictures / "train", tmp_path / "in")
  output = tmp_path / "out"
  assert run_convert(tmp_path / "in", output, scales="32", shards="train=30") == 0
  content = read_manifest(output)
  shards = content.shards["scale_32/train"]
  assert len(shards) == 30
  assert sum(shard.records for shard in shards) == 30
  assert any(not shard.records for shard in shards)  # the hash leaves some
  for shard in shards:
    assert (output / shard.path).stat().st_size == shard.bytes
    assert bool(shard.records) == bool(shard.bytes)


@pytest.mark.parametrize(
  ("shards", "said"),
  [
    ("train=31", "train=31 files for 30 images"),
    ("train=3,validation=1", "names validation, but the input has only train"),
  ],
)
def test_more_shards_than_images_are_refused(pictures, tmp_path, run_convert, capsys, shards, said):
  assert run_convert(pictures / "train", tmp_path / "out", shards=shards) == 2
  assert said in capsys.readouterr().err
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("fraction", "split"), [("1e-9", "validation"), ("0.999999999", "train")])
def test_split_that_no_image_falls_into_is_refused(
  pictures, tmp_path, run_convert, capsys, fraction, split
):
  """A small folder may have none among the few that are held out."""
  flag = f"--validation_fraction={fraction}"
  assert run_convert(pictures / "train", tmp_path / "out", flag) == 2
  said = f"--shards names {split}, but none of the 30 images is in it; add images, or hold out"
  assert said in capsys.readouterr().err
  assert os.listdir(tmp_path) == []


def test_fraction_of_one_folder_is_held_out(pictures, tmp_path, run_convert, read_records):
  output = tmp_path / "out"
  assert run_convert(pictures / "train", output, "--validation_fraction=0.3", "--seed=2") == 0
  train, held_out = (
    {record.id for record in read_records(output, 32, split)} for split in ("train", "validation")
  )
  assert train | held_out == listed(pictures / "train")
  assert not train & held_out
  assert 2 <= len(held_out) <= 18


def test_full_output_is_refused_and_overwritten_on_demand(
  copied, pictures, run_convert, read_tree, capsys
):
  before = read_tree(copied)
  assert run_convert(pictures, copied, scales="24") == 2
  assert "is not empty" in capsys.readouterr().err
  assert read_tree(copied) == before
  assert run_convert(pictures, copied, "--overwrite", scales="24") == 0
  assert {path.split("/")[0] for path in read_tree(copied) if "/" in path} == {"scale_24"}


@pytest.fixture
def damaged(pictures, tmp_path, write_files, damage_scan, save):
  folder = shutil.copytree(pictures, tmp_path / "damaged")
  whole = (folder / "train/n01/n01_0.JPEG").read_bytes()
  bad = {
    "train/n01/empty.JPEG": b"",
    "train/n01/cut.JPEG": whole[: len(whole) // 2],
    "validation/n02/text.JPEG": b"no picture",
    "train/n02/needle.JPEG": save(np.zeros((1, 60_000, 3), np.uint8)),
    "train/astray.JPEG": whole,
    "train/n03/flipped.JPEG": damage_scan[0],
  }
  write_files(folder, bad)
  os.symlink("nowhere", folder / "train/n01/link.JPEG")
  return folder


def test_every_input_is_stored_or_rejected(damaged, tmp_path, run_convert, read_records, capsys):
  output = tmp_path / "out"
  assert run_convert(damaged, output, "--max_reject_fraction=0.2") == 0
  notes = [json.loads(line) for line in (output / "rejected.jsonl").read_text().splitlines()]
  rejected = {note["id"]: note["reason"] for note in notes}
  assert rejected == {
    "train/astray.JPEG": "no_class",
    "train/n01/cut.JPEG": "truncated",
    "train/n01/empty.JPEG": "empty",
    "train/n01/link.JPEG": "not_a_file",
    "train/n02/needle.JPEG": "too_narrow",
    "validation/n02/text.JPEG": "not_an_image",
  }
  assert list(rejected) == sorted(rejected)
  for scale in (32, 40):
    splits = (read_records(output, scale, split) for split in ("train", "validation"))
    stored = {record.id for records in splits for record in records}
    assert not stored & set(rejected)
    assert stored | set(rejected) == listed(damaged) | {"train/n01/link.JPEG"}
  repaired = [json.loads(line) for line in (output / "repaired.jsonl").read_text().splitlines()]
  assert [(note["id"], note["repair"]) for note in repaired] == [
    ("train/n02/n02_3.JPEG", "from_png"),
    ("train/n03/flipped.JPEG", "damaged_scan"),
  ]
  table = capsys.readouterr().out
  assert "not_an_image" in table
  assert "damaged_scan" in table


def test_too_many_rejects_publish_nothing(damaged, tmp_path, run_convert, capsys):
  output = tmp_path / "out"
  assert run_convert(damaged, output) == 3
  said = capsys.readouterr()
  assert "6 of 49 images were rejected (1 empty, 1 no_class" in said.err
  assert "needle.JPEG" in said.out
  assert sorted(os.listdir(tmp_path)) == ["damaged", "out.incomplete", "out.rejected.jsonl"]
  assert len((tmp_path / "out.rejected.jsonl").read_text().splitlines()) == 6
  assert run_convert(damaged, output, "--max_reject_fraction=0.2") == 2
  assert "--resume" in capsys.readouterr().err
  assert run_convert(damaged, output, "--max_reject_fraction=0.2", "--resume") == 0
  assert sorted(os.listdir(tmp_path)) == ["damaged", "out"]
  assert run_convert(damaged, tmp_path / "at once", "--max_reject_fraction=0.2") == 0


@pytest.fixture
def broken_off(pictures, tmp_path, run_convert, monkeypatch):
  """A conversion that the third shard's end has interrupted; returns where it should go."""
  save, saved = parts.save, []

  def interrupt(*arguments):
    save(*arguments)
    saved.append(arguments)
    if len(saved) == 3:
      raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(parts, "save", interrupt)
    assert run_convert(pictures, tmp_path / "out") == 130
  assert os.listdir(tmp_path) == ["out.incomplete"]
  return tmp_path / "out"


def test_resumed_conversion_does_the_rest_alone(
  broken_off, converted, pictures, run_convert, read_tree, monkeypatch
):
  written = []
  commit = ShardFile.commit
  monkeypatch.setattr(ShardFile, "commit", lambda file: written.append(0) or commit(file))
  assert run_convert(pictures, broken_off, "--resume") == 0
  assert len(written) == 2 * (5 - 3)  # two scales of the other two shards
  assert read_tree(broken_off) == read_tree(converted)
  assert run_convert(pictures, broken_off, "--resume") == 0
  assert len(written) == 4
  assert os.listdir(broken_off.parent) == ["out"]


def test_resuming_notices_damage_done_meanwhile(
  broken_off, converted, pictures, run_convert, read_tree
):
  shard = next((broken_off.parent / "out.incomplete" / "scale_32").iterdir())
  shard.write_bytes(shard.read_bytes()[:-1])
  assert run_convert(pictures, broken_off, "--resume") == 0
  assert read_tree(broken_off) == read_tree(converted)


def test_resuming_with_other_options_is_refused(broken_off, pictures, run_convert, capsys):
  assert run_convert(pictures, broken_off, "--resume", "--quality=90") == 2
  assert "options.quality = 95, now it is 90" in capsys.readouterr().err
  assert run_convert(pictures, broken_off, "--resume") == 0
  assert run_convert(pictures, broken_off, "--resume", "--quality=90") == 2
  assert "is complete, with quality = 95, now it is 90" in capsys.readouterr().err


def test_replacing_can_be_resumed(broken_off, pictures, run_convert, read_manifest):
  assert run_convert(pictures, broken_off, "--resume") == 0
  assert run_convert(pictures, broken_off, "--overwrite", "--resume", "--quality=90") == 0
  assert read_manifest(broken_off).options["quality"] == 90
  assert os.listdir(broken_off.parent) == ["out"]


def test_broken_off_conversion_is_not_swept_unasked(broken_off, pictures, run_convert, capsys):
  assert run_convert(pictures, broken_off) == 2
  assert "go on with --resume, or start over with --overwrite" in capsys.readouterr().err
  assert run_convert(pictures, broken_off, "--overwrite") == 0
  assert os.listdir(broken_off.parent) == ["out"]


def test_changed_input_is_converted_anew(
  broken_off, pictures, tmp_path_factory, run_convert, read_tree
):
  changed = shutil.copytree(pictures, tmp_path_factory.mktemp("changed") / "pictures")
  os.rename(changed / "train/n01/n01_0.JPEG", changed / "train/n01/n01_99.JPEG")
  assert run_convert(changed, broken_off, "--resume") == 0
  fresh = tmp_path_factory.mktemp("fresh") / "out"
  assert run_convert(changed, fresh) == 0
  assert read_tree(broken_off) == read_tree(fresh)


@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_full_disk_publishes_nothing(pictures, converted, tmp_path, repository, read_tree, mode):
  output = tmp_path / "out"
  given = (f"--input={pictures}", f"--output={output}", *FLAGS)
  more = (f"--direct_running_mode={mode}", "--direct_num_workers=2", "--max_reject_fraction=1")
  done = subprocess.run(
    [*PROGRAM, *given, *more],
    cwd=repository,
    capture_output=True,
    text=True,
    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)),
  )
  assert done.returncode == 5, done.stderr
  last = done.stderr.splitlines()[-1]
  assert last.startswith(f"vggtf: ERROR 5: cannot write {output}.incomplete/scale_")
  assert "File too large" in last
  assert "out" not in os.listdir(tmp_path)
  assert not list(tmp_path.rglob("*.tmp-*"))
  subprocess.run([*PROGRAM, *given, "--resume"], cwd=repository, check=True, capture_output=True)
  assert read_tree(output) == read_tree(converted)


def test_input_without_images_is_a_usage_error(tmp_path, run_convert, capsys):
  (tmp_path / "in" / "class").mkdir(parents=True)
  assert run_convert(tmp_path / "in", tmp_path / "out", shards="train=1") == 2
  assert "holds no images" in capsys.readouterr().err
  assert run_convert(tmp_path / "nowhere", tmp_path / "out") == 2
  assert sorted(os.listdir(tmp_path)) == ["in"]


def test_wrong_class_of_validation_is_named(pictures, tmp_path, run_convert, capsys):
  folder = shutil.copytree(pictures, tmp_path / "in")
  os.rename(folder / "validation" / "n02", folder / "validation" / "n99")
  assert run_convert(folder, tmp_path / "out") == 2
  assert "1 classes that train/ lacks: n99" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (("--direct_num_worker=4",), "unknown option --direct_num_worker; did you mean --direct_num_w"),
    (("--scale=32",), "unknown option --scale; did you mean --scales?"),
    (("--shards=train=0",), "--shards: got 'train=0'"),
    (("--shards=train=2",), "but the input also has validation; add for example validation=1"),
    (("--source=fodler",), "expected one of: "),
    (("--quality=high",), "argument --quality: invalid int value: 'high'"),
    (("stray",), "unexpected argument 'stray'"),
  ],
)
def test_wrong_flags_are_refused(pictures, tmp_path, run_convert, capsys, flags, said):
  assert run_convert(pictures, tmp_path / "out", *flags) == 2
  assert said in capsys.readouterr().err
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["", "sub", ".."])
def test_output_within_the_input_is_refused(pictures, tmp_path, run_convert, capsys, place):
  folder = shutil.copytree(pictures, tmp_path / "a" / "in")
  assert run_convert(folder, folder / place, "--overwrite") == 2
  assert "lie in one another" in capsys.readouterr().err
  assert listed(folder) == listed(pictures)


def test_manifest_holds_no_path(converted, pictures):
  text = (converted / "manifest.json").read_text()
  for folder in (converted, pictures):
    assert str(folder.parent) not in text


def test_help_is_quick_and_complete():
  with pytest.raises(SystemExit) as left:
    convert.main(["--help"])
  assert left.value.code == 0


def test_help_needs_no_beam(repository):
  program = (
    "import sys\nfrom data_tools import convert\n"
    "try: convert.main(['--help'])\n"
    "except SystemExit as left: assert not left.code\n"
    "heavy = {'apache_beam', 'numpy', 'tensorflow', 'rich'} & set(sys.modules)\n"
    "assert not heavy, heavy\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], cwd=repository, check=True, capture_output=True, text=True
  )
  for flag in ("--input", "--max_pixels", "--validation_fraction"):
    assert flag in done.stdout


def test_no_worker_imports_tensorflow(repository):
  program = (
    "import importlib, pkgutil, sys\nimport data_tools\n"
    "names = [m.name for m in pkgutil.walk_packages(data_tools.__path__, 'data_tools.')]\n"
    "assert 'data_tools.sources.folder' in names and 'data_tools.pipeline' in names, names\n"
    "for name in names: importlib.import_module(name)\n"
    "assert 'tensorflow' not in sys.modules\n"
  )
  subprocess.run([sys.executable, "-c", program], cwd=repository, check=True)


def test_interrupt_is_quiet():
  def interrupt():
    raise KeyboardInterrupt

  assert errors.run_command(interrupt) == 130


def test_real_photos(shared_data, tmp_path, run_convert, read_manifest):
  subprocess.run(["tar", "xf", shared_data / "imagenet200.tar", "-C", tmp_path], check=True)
  photos = tmp_path / "imagenet200"
  output = tmp_path / "out"
  assert run_convert(photos, output, scales="64", shards="train=2") == 0
  content = read_manifest(output)
  assert content.splits["train"] == sum(path.is_file() for path in photos.rglob("*"))
  assert all(90 < level < 140 for level in content.statistics.mean_rgb)  # ImageNet's is 124,117,104
