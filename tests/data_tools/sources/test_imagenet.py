"""All layouts of one small ImageNet give the same; whatever is missing or odd is told exactly."""

import argparse
import dataclasses
import functools
import gzip
import hashlib
import io
import os
import pickle
import tarfile

import pytest

from data_tools.listing import ilsvrc_meta, ilsvrc_sums
from data_tools.source import Annotation, Item
from data_tools.sources import imagenet
from tests.data_tools import bucket, synthetic_ilsvrc
from vggtf import errors, schema


@pytest.fixture(scope="module", autouse=True)
def read_once():
  """A child process for each devkit takes 0.3 s; equal ones are read once here."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(ilsvrc_meta, "read", functools.cache(ilsvrc_meta.read))
    yield


@pytest.fixture(scope="module")
def content():
  return synthetic_ilsvrc.make()


@pytest.fixture(scope="module")
def layouts(tmp_path_factory, content):
  """Returns the folder of each layout; not to be changed."""
  folder = tmp_path_factory.mktemp("layouts")
  return {
    name: synthetic_ilsvrc.write(folder / name, lay_out(content))
    for name, lay_out in synthetic_ilsvrc.LAYOUTS.items()
  }


@pytest.fixture
def archives(content):
  """Returns {name: bytes} of the official archives, to be changed and written."""
  return synthetic_ilsvrc.lay_out_archives(content)


@pytest.fixture
def write(tmp_path):
  """Returns a function ({path: bytes}) to the folder that it wrote them to."""
  return lambda files: synthetic_ilsvrc.write(tmp_path / "in", files)


def open_source(folder, *flags, partial=True) -> imagenet.ImageNet:
  parser = argparse.ArgumentParser()
  imagenet.add_flags(parser)
  given = [f"--input={folder}", *flags, *(["--partial"] if partial else [])]
  return imagenet.open_source(parser.parse_args(given))


def list_all(source) -> tuple[dict[str, Item], dict[str, Annotation]]:
  listed = [one for root in source.roots() for one in source.list_items(root)]
  items = {item.id: item for item in listed if isinstance(item, Item)}
  boxes = {boxes.id: boxes for boxes in listed if isinstance(boxes, Annotation)}
  assert len(items) + len(boxes) == len(listed)
  return items, boxes


@pytest.mark.parametrize("name", list(synthetic_ilsvrc.LAYOUTS))
def test_every_layout_gives_what_went_in(layouts, content, name):
  source = pickle.loads(pickle.dumps(open_source(layouts[name])))
  assert source.splits() == ["train", "validation"]
  assert source.classes() == (
    ("n01440764", "tench, Tinca tinca"),
    ("n02012849", "crane, crane bird"),
    ("n02092002", "Scottish deerhound, deerhound"),
    ("n03126707", "crane"),
  )
  expected = {}
  for label, synset in enumerate(sorted(content.train)):
    for file, data in content.train[synset].items():
      expected[f"train/{synset}/{file}"] = ("train", label, data)
  for number, (file, data) in enumerate(content.validation.items(), 1):
    label = sorted(content.train).index(synthetic_ilsvrc.synset_of(number))
    expected[f"validation/{file}"] = ("validation", label, data)
  items, _ = list_all(source)
  assert {id_: (one.split, one.label, source.read(one)) for id_, one in items.items()} == expected
  assert not any(item.refused for item in items.values())


def test_every_layout_gives_the_same_boxes(layouts, content):
  def boxes_of(name):
    _, boxes = list_all(open_source(layouts[name]))
    return {
      id_: (one.split, one.boxes, one.refused and one.refused[0]) for id_, one in boxes.items()
    }

  found = boxes_of("archives")
  for name in layouts:
    assert boxes_of(name) == found
  refused = {id_: reason for id_, (_, _, reason) in found.items() if reason}
  expected = dict(synthetic_ilsvrc.REFUSED_BOXES)
  assert expected.pop("train/n02092002/n02092002_999.JPEG") == "box_without_image"  # conversion's
  assert refused == expected
  whole = (schema.Box(0.1, 0.25, 0.9, 0.75, 2), schema.Box(0.0, 0.0, 1.0, 1.0, 2))
  assert found["train/n02092002/n02092002_11.JPEG"] == ("train", whole, None)
  assert found[synthetic_ilsvrc.READABLE_NAME] == ("train", whole, None)
  assert {box.label for box in found[synthetic_ilsvrc.SHARED_NAME][1]} == {3}
  (label,) = {box.label for box in found["validation/ILSVRC2012_val_00000009.JPEG"][1]}
  assert sorted(content.train)[label] == synthetic_ilsvrc.synset_of(9)


def test_boxes_are_clipped_or_left_out(layouts):
  id_ = "train/n02092002/n02092002_5.JPEG"
  _, boxes = list_all(open_source(layouts["kaggle"], "--clip_boxes"))
  assert [box.ymax for box in boxes[id_].boxes] == [0.5, 1.0]
  source = open_source(layouts["archives"], "--no_boxes")
  assert not list_all(source)[1]
  assert not source.describe()["boxes"]
  with pytest.raises(errors.UsageError, match="--clip_boxes: there are no boxes"):
    open_source(layouts["archives"], "--no_boxes", "--clip_boxes")


def test_boxes_of_other_classes_are_no_fault_of_a_part(content, write):
  fewer = {key: files for key, files in content.train.items() if key != "n02092002"}
  files = synthetic_ilsvrc.lay_out_archives(dataclasses.replace(content, train=fewer))
  del files["ILSVRC2012_img_val.tar"], files["ILSVRC2012_devkit_t12.tar.gz"]
  source = open_source(write(files))
  assert len(source.classes()) == 3
  assert {id_.split("/")[1] for id_ in list_all(source)[1]} == {"n03126707"}
  whole = list_all(dataclasses.replace(source, partial=False))[1]
  refused = {one.refused[0] for id_, one in whole.items() if "n02092002" in id_}
  assert refused == {"box_unknown_class"}


def test_archives_in_a_bucket(layouts, monkeypatch):
  monkeypatch.setattr(bucket.Bucket, "root", layouts["archives"].parent)
  local = open_source(layouts["archives"])
  for name in layouts:
    if " " in name:
      continue
    source = open_source(f"bucket://{name}")
    items, boxes = list_all(source)
    assert (set(items), set(boxes)) == tuple(map(set, list_all(local)))
    id_ = "train/n02092002/n02092002_7.JPEG"
    assert source.read(items[id_]) == local.read(list_all(local)[0][id_])


def test_description_holds_no_path(layouts):
  described = open_source(layouts["archives"]).describe()
  assert described == {
    "name": "imagenet",
    "layout": {
      "train": "ILSVRC2012_img_train.tar",
      "validation": "ILSVRC2012_img_val.tar",
      "devkit": "ILSVRC2012_devkit_t12.tar.gz",
      "train_boxes": "ILSVRC2012_bbox_train_v2.tar.gz",
      "validation_boxes": "ILSVRC2012_bbox_val_v3.tgz",
    },
    "archive_bytes": {path.name: path.stat().st_size for path in layouts["archives"].iterdir()},
    "devkit": "ILSVRC2012_devkit_t12.tar.gz",
    "val_labels": "",
    "boxes": True,
    "clip_boxes": False,
    "md5_verified": False,
    "partial": True,
  }


def test_layouts_mix(layouts, content, tmp_path):
  files = synthetic_ilsvrc.lay_out_archives(content)
  del files["ILSVRC2012_img_train.tar"], files["ILSVRC2012_devkit_t12.tar.gz"]
  kaggle = synthetic_ilsvrc.lay_out_kaggle(content)
  files |= {name: data for name, data in kaggle.items() if "CLS-LOC/train/" in name}
  files = {name: data for name, data in files.items() if "Annotations" not in name}
  folder = synthetic_ilsvrc.write(tmp_path / "in", files)
  devkit = layouts["folders"] / synthetic_ilsvrc.DEVKIT
  found, _ = list_all(open_source(folder, f"--devkit={devkit}"))
  expected, _ = list_all(open_source(layouts["archives"]))
  assert {id_: item.label for id_, item in found.items()} == {
    id_: item.label for id_, item in expected.items()
  }


# What is there twice, lies astray or is unsafe.


@pytest.mark.parametrize("name", list(synthetic_ilsvrc.LAYOUTS))
def test_image_in_two_classes_is_one_id(content, write, name):
  train = {key: dict(files) for key, files in content.train.items()}
  train["n02012849"]["n01440764_7.JPEG"] = b"x"
  lay_out = synthetic_ilsvrc.LAYOUTS[name]
  source = open_source(write(lay_out(dataclasses.replace(content, train=train))), "--no_boxes")
  listed = [one for root in source.roots() for one in source.list_items(root)]
  twice = [item for item in listed if item.id == "train/n01440764/n01440764_7.JPEG"]
  assert [item.refused and item.refused[0] for item in twice] == [None, "wrong_class"]


def add_members(data: bytes, *members: tuple[str, bytes, bytes]) -> bytes:
  """Returns a tar with (name, type, content) at its end."""
  buffer = io.BytesIO(data)
  with tarfile.open(fileobj=buffer, mode="a") as tar:
    for name, kind, payload in members:
      entry = tarfile.TarInfo(name)
      entry.type, entry.linkname, entry.size = kind, "/etc/passwd", len(payload)
      tar.addfile(entry, io.BytesIO(payload))
  return buffer.getvalue()


UNSAFE = (
  ("../n1.JPEG", tarfile.REGTYPE, b"x"),
  ("/n2.JPEG", tarfile.REGTYPE, b"x"),
  ("n3.JPEG", tarfile.SYMTYPE, b""),
  ("n4.JPEG", tarfile.LNKTYPE, b""),
  ("n5.JPEG", tarfile.BLKTYPE, b""),
  ("../.n6.JPEG", tarfile.REGTYPE, b"x"),
)


def test_unsafe_members_are_refused(archives, content, write):
  inner = {f"{key}.tar": synthetic_ilsvrc.write_tar(files) for key, files in content.train.items()}
  hidden = ("._n01440764_0.JPEG", tarfile.REGTYPE, b"x")
  inner["n01440764.tar"] = add_members(inner["n01440764.tar"], *UNSAFE, hidden)
  outer = add_members(
    synthetic_ilsvrc.write_tar(inner),
    ("../n02012849.tar", tarfile.REGTYPE, b"x"),
    ("n02092002.tar", tarfile.SYMTYPE, b""),
    ("../.n9.tar", tarfile.REGTYPE, b"x"),
    ("README", tarfile.REGTYPE, b"x"),
    ("._n02092002.tar", tarfile.REGTYPE, b"x"),
  )
  archives["ILSVRC2012_img_train.tar"] = outer
  validation = archives["ILSVRC2012_img_val.tar"]
  archives["ILSVRC2012_img_val.tar"] = add_members(validation, *UNSAFE[:3])
  items, _ = list_all(open_source(write(archives)))
  assert not [id_ for id_ in items if "._" in id_]
  refused = {id_: item.refused[0] for id_, item in items.items() if item.refused}
  assert refused == {
    **{f"train/n01440764/n{at}.JPEG": "unsafe_member" for at in range(1, 6)},
    "train/n01440764/.n6.JPEG": "unsafe_member",
    **{f"validation/n{at}.JPEG": "unsafe_member" for at in range(1, 4)},
    "train/n02012849.tar": "unsafe_member",
    "train/n02092002.tar": "unsafe_member",
    "train/.n9.tar": "unsafe_member",
    "train/README": "no_class",
  }


def test_files_beside_class_folders_are_refused(content, write, monkeypatch):
  files = synthetic_ilsvrc.lay_out_folders(content, class_folders=True)
  files |= {"train/notes": b"", "val/notes": b"", "train/.hidden": b"", "train/n01440764/.x": b""}
  folder = write(files)
  monkeypatch.setattr(bucket.Bucket, "root", folder.parent)
  for place in (folder, f"bucket://{folder.name}"):
    items, _ = list_all(open_source(place))
    assert {id_: item.refused[0] for id_, item in items.items() if item.refused} == {
      "train/notes": "no_class",
      "validation/notes": "no_class",
    }


def test_class_archive_twice(archives, write):
  train = add_members(
    archives["ILSVRC2012_img_train.tar"], ("x/n01440764.tar", tarfile.REGTYPE, b"x")
  )
  folder = write(archives | {"ILSVRC2012_img_train.tar": train})
  with pytest.raises(errors.RejectedInputError, match=r"more than once: n01440764\.tar"):
    open_source(folder)


# Damage (C1, C2, C4) and sums (C3).


def test_damage_in_the_outer_archive(archives, write):
  outer = archives["ILSVRC2012_img_train.tar"]
  with tarfile.open(fileobj=io.BytesIO(outer)) as tar:
    third = tar.getmembers()[2].offset
  flipped = bytearray(outer)
  flipped[third + 5] ^= 4
  for damaged, said in (
    (outer[:third], f"ends at byte {third} without end-of-archive marker: 2 members read"),
    (flipped, f"damaged header at byte {third}; {len(outer) - third} bytes unread: 2 members"),
    (outer[: third + 5000], "inside 'n02092002.tar'"),
  ):
    folder = write(archives | {"ILSVRC2012_img_train.tar": bytes(damaged)})
    with pytest.raises(errors.IntegrityError, match=said):
      open_source(folder)


@pytest.mark.parametrize(
  ("damage", "said"),
  [
    (lambda inner: b"", "no tar|ends at byte 0"),
    (lambda inner: b"\xff\xd8\xff" * 300, "no tar"),
    (lambda inner: bytes(10240), "no members"),
    (lambda inner: inner[: len(inner) // 1024 * 512], "without end-of-archive|ends"),
  ],
)
def test_damage_in_a_class_archive_names_it(content, archives, write, damage, said):
  inner = {f"{key}.tar": synthetic_ilsvrc.write_tar(files) for key, files in content.train.items()}
  inner["n02092002.tar"] = damage(inner["n02092002.tar"])
  archives["ILSVRC2012_img_train.tar"] = synthetic_ilsvrc.write_tar(inner)
  source = open_source(write(archives))
  with pytest.raises(errors.IntegrityError, match=said) as caught:
    list_all(source)
  assert "ILSVRC2012_img_train.tar/n02092002.tar" in str(caught.value)
  assert "class n02092002 should have 30 images" in str(caught.value)


def test_md5(archives, write, monkeypatch, capsys):
  folder = write(archives)
  with pytest.raises(errors.IntegrityError, match="expected 1d675b47d978889d74fa0da5fadfb00e"):
    open_source(folder, "--verify_md5")
  known = {name: hashlib.md5(archives[name]).hexdigest() for name in ilsvrc_sums.KNOWN}
  monkeypatch.setattr(ilsvrc_sums, "KNOWN", known)
  assert open_source(folder, "--verify_md5").describe()["md5_verified"]
  assert "MD5 of ILSVRC2012_img_val.tar: 0.0 of 0.0 GB" in capsys.readouterr().err
  write({"ILSVRC2012_devkit_t12.tar.gz": archives["ILSVRC2012_devkit_t12.tar.gz"] + b"\0"})
  with pytest.raises(errors.IntegrityError, match="devkit_t12"):
    open_source(folder, "--verify_md5")


def test_md5_of_folders_is_a_mistake(layouts):
  with pytest.raises(errors.UsageError, match="none of"):
    open_source(layouts["folders"], "--verify_md5")


# Layouts that are not understood.


def test_layouts_that_are_not_understood(layouts, archives, write, tmp_path):
  with pytest.raises(errors.UsageError, match="no such folder"):
    open_source(tmp_path / "nowhere")
  folder = write({"n01440764/x.JPEG": b""})
  with pytest.raises(errors.UsageError, match=r"looked for ILSVRC2012_img_train\.tar or train/"):
    open_source(folder)
  write({"ILSVRC2012_img_train.tar": archives["ILSVRC2012_img_train.tar"]})
  with pytest.raises(errors.UsageError, match="has no validation images; add them, or say"):
    open_source(folder, partial=False)
  write({"train/n01440764/x.JPEG": b""})
  with pytest.raises(errors.UsageError, match=r"both ILSVRC2012_img_train\.tar and train/"):
    open_source(folder)


def test_a_part_may_lack_a_split(archives, write):
  del archives["ILSVRC2012_img_val.tar"]
  source = open_source(write(archives))
  assert source.splits() == ["train"]
  items, boxes = list_all(source)
  assert {one.split for one in [*items.values(), *boxes.values()]} == {"train"}


def test_labels_of_no_images_are_a_mistake(layouts, archives, write, tmp_path):
  labels = tmp_path / "labels"
  labels.write_text("n01440764\n" * synthetic_ilsvrc.VALIDATION)
  with pytest.raises(errors.UsageError, match="has class folders, which are the labels"):
    open_source(layouts["class folders"], f"--val_labels={labels}")
  source = open_source(layouts["archives"], f"--val_labels={labels}")
  assert {item.label for item in list_all(source)[0].values() if item.split == "validation"} == {0}
  labels.write_text("n00000001\n" * synthetic_ilsvrc.VALIDATION)
  with pytest.raises(errors.UsageError, match="the list of validation labels: 1 classes that"):
    open_source(layouts["archives"], f"--val_labels={labels}")
  del archives["ILSVRC2012_img_val.tar"]
  with pytest.raises(errors.UsageError, match="there are no validation images"):
    open_source(write(archives), f"--val_labels={labels}")


def test_images_without_labels_are_a_mistake(archives, write):
  del archives["ILSVRC2012_devkit_t12.tar.gz"]
  with pytest.raises(errors.UsageError, match="has no labels; looked beside it"):
    open_source(write(archives))


def test_compressed_images_are_refused_with_the_cure(archives, write):
  archives["ILSVRC2012_img_val.tar"] = gzip.compress(archives["ILSVRC2012_img_val.tar"])
  source = open_source(write(archives))
  with pytest.raises(errors.UsageError, match="run gunzip"):
    list_all(source)


def test_class_text(layouts, tmp_path):
  texts = tmp_path / "texts"
  texts.write_text("".join(f"{key}\tthe {key}\n" for key in synthetic_ilsvrc.SYNSETS))
  source = open_source(layouts["archives"], f"--class_text={texts}")
  assert source.classes()[0] == ("n01440764", "the n01440764")


# The whole of ILSVRC2012, as far as lists and counts go.


@pytest.fixture(scope="module")
def words():
  """Returns 1000 classes; the devkit's order is not the sorted one."""
  return {f"n{70000000 - 7 * at:08d}": f"thing {at}" for at in range(1000)}


@pytest.fixture
def whole(words, tmp_path):
  """Returns a function ({file: bytes}) to a folder: 1000 classes without images, a full devkit."""

  def whole(more=None, classes=tuple(words)):
    truth = [1 + at % 1000 for at in range(50_000)]
    files = synthetic_ilsvrc.write_devkit(words, 1300, truth)
    files |= {f"train/{key}/x.JPEG": b"" for key in classes} | {"val/x": b""}
    return synthetic_ilsvrc.write(tmp_path / "whole", files | (more or {}))

  return whole


def test_counts_of_the_whole(whole, words):
  source = open_source(whole(), partial=False)
  counts = {("train", label): 1300 for label in range(1000)}
  counts |= {("validation", label): 50 for label in range(1000)}
  with pytest.raises(errors.IntegrityError) as caught:
    source.check_counts(counts)
  assert "train has 1,300,000 of 1,281,167 images" in str(caught.value)
  assert "class" not in str(caught.value)
  few = counts | {("train", 3): 812}
  del few["validation", 7]
  with pytest.raises(errors.IntegrityError) as caught:
    source.check_counts(few)
  assert f"class {sorted(words)[3]} has 812 of 1300" in str(caught.value)
  assert "validation has 49,950 of 50,000 images" in str(caught.value)
  exact = dict.fromkeys(words, 0) | dict.fromkeys(list(words)[:985], 1300)
  exact[list(words)[985]] = 1_281_167 - 985 * 1300
  labels = {key: label for label, (key, _) in enumerate(source.classes())}
  source = dataclasses.replace(source, train_images=exact)
  counts |= {("train", labels[key]): number for key, number in exact.items()}
  source.check_counts(counts)
  first, last = (labels[key] for key in (min(exact, key=lambda key: -exact[key]), list(words)[-1]))
  moved = counts | {("train", first): 1299, ("train", last): 1}
  with pytest.raises(errors.IntegrityError, match=r"has 1299 of 1300.* has 1 of 0"):
    source.check_counts(moved)
  dataclasses.replace(source, partial=True).check_counts({("train", 0): 1})


def test_images_and_labels_that_do_not_pair_up(whole):
  source = open_source(
    whole({"val/ILSVRC2012_val_00000002.JPEG": b"", "val/ILSVRC2012_val_00050001.JPEG": b""}),
    partial=False,
  )
  (root,) = [root for root in source.roots() if root.split == "validation"]
  said = (
    r"49999 of 50000 labels have no image: numbers \[1, 3, 4, 5, 6\]; 2 images have no label: "
    r"\['val/ILSVRC2012_val_00050001.JPEG', 'val/x'\]"
  )
  with pytest.raises(errors.RejectedInputError, match=said):
    list(source.list_items(root))
  fewer = dataclasses.replace(source, numbered={2: 0, 50_001: 0, 50_002: 1})
  os.remove(os.path.join(source.layout.root, "val/x"))
  with pytest.raises(errors.RejectedInputError, match=r"1 of 3 labels have no image.*0 images"):
    list(fewer.list_items(root))
  part = dataclasses.replace(source, partial=True)
  assert {item.id: item.refused and item.refused[0] for item in part.list_items(root)} == {
    "validation/ILSVRC2012_val_00000002.JPEG": None,
    "validation/ILSVRC2012_val_00050001.JPEG": "no_label",
  }


def test_classes_that_are_missing_or_unknown(whole, words):
  folder = whole(classes=list(words)[:-2])
  with pytest.raises(errors.UsageError) as caught:
    open_source(folder, partial=False)
  first, second = sorted(list(words)[-2:])
  assert f"train/ lacks 2 of the 1000 classes of the devkit: {first}, {second}" in str(caught.value)
  assert len(open_source(folder).classes()) == 1000  # labels keep their meaning in a part
  whole({"train/n00000001/x.JPEG": b""})
  with pytest.raises(errors.UsageError, match="1 classes that the devkit lacks: n00000001"):
    open_source(folder)


def test_number_of_classes_and_labels(whole, words):
  short = synthetic_ilsvrc.write_devkit(dict(list(words.items())[:999]), 1300, [1] * 50_000)
  folder = whole(short)
  with pytest.raises(errors.UsageError, match="devkit has 999 classes, expected 1000"):
    open_source(folder, partial=False)
  whole(synthetic_ilsvrc.write_devkit(words, 1300, [1 + at % 1000 for at in range(49_999)]))
  with pytest.raises(errors.UsageError, match="49,999 labels of validation images, expected 50,0"):
    open_source(folder, partial=False)
