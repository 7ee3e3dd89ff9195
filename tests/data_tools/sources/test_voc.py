"""VOC folders as the archives hold them; truth and boxes against a reader of the test's own."""

import argparse
import random
import shutil
from xml.etree import ElementTree

import pytest

from data_tools import convert
from data_tools.source import Annotation, Item
from data_tools.sources import voc
from tests.data_tools import bucket
from vggtf import errors, schema

# The order in which TFDS, torchvision and VOC's own devkit name the classes.
OBJECTS = [
  *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
  *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
  *("train", "tvmonitor"),
]
ACTIONS = [
  *("jumping", "phoning", "playinginstrument", "reading", "ridingbike", "ridinghorse"),
  *("running", "takingphoto", "usingcomputer", "walking"),
]
SETS = {"train": range(8), "val": range(8, 13), "test": range(13, 20)}


def open_source(root, *flags):
  parser = argparse.ArgumentParser()
  voc.add_flags(parser)
  return voc.open_source(parser.parse_args([f"--input={root}", *flags]))


def list_all(source):
  listed = [one for root in source.roots() for one in source.list_items(root)]
  items = {one.id: one for one in listed if isinstance(one, Item)}
  annotations = {one.id: one for one in listed if isinstance(one, Annotation)}
  assert len(items) + len(annotations) == len(listed)
  return items, annotations


def write_object(name, corners, difficult, more=""):
  sides = "".join(
    f"<{side}>{at}</{side}>"
    for side, at in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
  )
  return (
    f"<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>"
    f"<difficult>{difficult}</difficult><bndbox>{sides}</bndbox>{more}</object>"
  )


def write_annotation(objects, width=60, height=40):
  size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
  return f"<annotation><folder>VOC2007</folder>{size}{''.join(objects)}</annotation>".encode()


@pytest.fixture
def voc2007(tmp_path, paint, save, write_files):
  """VOCdevkit/VOC2007 of 20 images; the classes' lists follow the devkit's rule."""
  draw = random.Random(7)
  files, shown = {}, {}
  for at in range(20):
    image, objects, shown[at] = f"{at + 1:06d}", [], {}
    for _ in range(draw.randint(1, 4)):
      name, difficult = draw.choice(OBJECTS), int(draw.random() < 0.4)
      xmin, ymin = draw.randint(1, 30), draw.randint(1, 20)
      box = (xmin, ymin, draw.randint(xmin + 1, 60), draw.randint(ymin + 1, 40))
      part = write_object("head", (1, 1, 2, 2), 0).replace("object>", "part>")
      objects.append(write_object(name, box, difficult, part))
      shown[at].setdefault(name, []).append(difficult)
    files[f"JPEGImages/{image}.jpg"] = save(paint(at, 40, 60))
    files[f"Annotations/{image}.xml"] = write_annotation(objects)
  for name, numbers in {**SETS, "trainval": range(13)}.items():
    lines = "".join(f"{at + 1:06d}\n" for at in numbers)
    files[f"ImageSets/Main/{name}.txt"] = lines.encode()
    for key in OBJECTS:
      values = [
        (at, -1 if key not in shown[at] else 0 if all(shown[at][key]) else 1) for at in numbers
      ]
      lines = "".join(f"{at + 1:06d} {value:2d}\n" for at, value in values)
      files[f"ImageSets/Main/{key}_{name}.txt"] = lines.encode()
  return write_files(tmp_path / "VOCdevkit" / "VOC2007", files)


def read_as_tfds_does(root, image):
  """What TFDS's reader makes of an annotation: boxes, labels, labels_no_difficult."""
  annotation = ElementTree.parse(root / "Annotations" / f"{image}.xml").getroot()
  width, height = (float(annotation.find(f"size/{side}").text) for side in ("width", "height"))
  boxes = []
  for found in annotation.findall("object"):
    at = {
      side: float(found.find(f"bndbox/{side}").text) for side in ("xmin", "xmax", "ymin", "ymax")
    }
    label = OBJECTS.index(found.find("name").text)
    difficult = found.find("difficult").text == "1"
    corners = at["xmin"] / width, at["ymin"] / height, at["xmax"] / width, at["ymax"] / height
    boxes.append(schema.Box(*corners, label, difficult))
  return boxes, {box.label for box in boxes}, {box.label for box in boxes if not box.difficult}


@pytest.mark.parametrize("lists", [True, False])
def test_truth_and_boxes(voc2007, lists):
  if not lists:
    for path in voc2007.glob("ImageSets/Main/*_*.txt"):
      path.unlink()
  source = open_source(voc2007)
  assert source.splits() == ["train", "validation", "test"]
  assert source.classes() == [(key, key) for key in OBJECTS]
  items, annotations = list_all(source)
  assert items.keys() == annotations.keys() == {f"VOC2007/{at + 1:06d}.jpg" for at in range(20)}
  some_uncertain = False
  for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
    for at in SETS[name]:
      image = f"{at + 1:06d}"
      item, annotation = (found[f"VOC2007/{image}.jpg"] for found in (items, annotations))
      boxes, labels, sure = read_as_tfds_does(voc2007, image)
      assert (item.split, item.refused, annotation.split, annotation.refused) == (split, None) * 2
      assert annotation.boxes == tuple(boxes)
      assert item.labels == tuple(sorted(sure))
      assert item.uncertain == tuple(sorted(labels - sure))
      assert item.label == (item.labels + item.uncertain)[0]
      assert source.read(item) == (voc2007 / "JPEGImages" / f"{image}.jpg").read_bytes()
      some_uncertain |= bool(item.uncertain)
  assert some_uncertain
  assert set(source.describe()["truth"].values()) == {"ImageSets" if lists else "Annotations"}
  source.check_counts({})


def test_trainval_trains(voc2007):
  source = open_source(voc2007.parent.parent, "--voc_splits=trainval,test")
  items, _ = list_all(source)
  assert source.splits() == ["train", "test"]
  assert sum(item.split == "train" for item in items.values()) == 13
  assert source.describe() == {
    "name": "voc",
    "year": "VOC2007",
    "task": "main",
    "truth": {"trainval": "ImageSets", "test": "ImageSets"},
  }


def test_the_lists_count_and_not_the_annotation(voc2007):
  cat, dog, image = OBJECTS.index("cat"), OBJECTS.index("dog"), "000001"
  (voc2007 / "Annotations" / f"{image}.xml").write_bytes(
    write_annotation([write_object("dog", (1, 1, 9, 9), 0)])
  )
  for key in OBJECTS:
    path = voc2007 / "ImageSets" / "Main" / f"{key}_train.txt"
    others = path.read_text().split("\n", 1)[1]
    path.write_text(f"{image} {1 if key == 'cat' else -1}\n{others}")
  items, annotations = list_all(open_source(voc2007))
  assert items["VOC2007/000001.jpg"].labels == (cat,)
  assert [box.label for box in annotations["VOC2007/000001.jpg"].boxes] == [dog]


def test_annotations_that_cannot_be_used(voc2007):
  (voc2007 / "Annotations" / "000001.xml").write_bytes(b"<annotation>")
  (voc2007 / "Annotations" / "000002.xml").unlink()
  (voc2007 / "Annotations" / "000003.xml").write_bytes(
    write_annotation([write_object("dog", (1, 1, 61, 9), 0)])
  )
  items, annotations = list_all(open_source(voc2007))
  reasons = {id_: one.refused[0] for id_, one in annotations.items() if one.refused}
  assert reasons == {
    "VOC2007/000001.jpg": "box_malformed_xml",
    "VOC2007/000002.jpg": "box_no_file",
    "VOC2007/000003.jpg": "box_outside",
  }
  assert not [item for item in items.values() if item.refused]

  for path in voc2007.glob("ImageSets/Main/*_train.txt"):
    path.unlink()
  with pytest.raises(errors.UsageError, match=r"the truth of 1 of its images \(000002\)"):
    open_source(voc2007)
  (voc2007 / "Annotations" / "000002.xml").write_bytes(
    write_annotation([write_object("unicorn", (1, 1, 9, 9), 0)])
  )
  items, _ = list_all(open_source(voc2007))
  refused = {id_: item.refused[0] for id_, item in items.items() if item.refused}
  assert refused == {f"VOC2007/00000{number}.jpg": "no_truth" for number in (1, 2, 3)}


def test_an_image_of_no_class_is_refused(voc2007):
  for path in voc2007.glob("ImageSets/Main/*_val.txt"):
    path.write_text(
      path.read_text().replace("000009  1", "000009 -1").replace("000009  0", "000009 -1")
    )
  items, _ = list_all(open_source(voc2007, "--voc_splits=val"))
  assert items["VOC2007/000009.jpg"].refused == ("no_class", "shows none of the classes")


def change(path, old, new):
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
  ("file", "old", "new", "said"),
  [
    ("cat_val.txt", "000010 -1\n", "", "1 images are not in all of val.txt and the 20 .*: 000010"),
    ("val.txt", "000010\n", "", "1 images are not in all of val.txt and the 20 .*: 000010"),
    ("val.txt", "000010\n", "../../x\n", r"val.txt, line 2: got '../../x', expected the name"),
    ("cat_val.txt", "000010 -1", "000010 2", "cat_val.txt, line 2: got '000010 2', expected image"),
    ("cat_val.txt", "000010 -1", "000010", "cat_val.txt, line 2: got '000010', expected image and"),
    ("cat_val.txt", "000010 -1", "000009 -1", "cat_val.txt, line 2: got '000009 -1', .* each once"),
  ],
)
def test_damaged_lists(voc2007, file, old, new, said):
  change(voc2007 / "ImageSets" / "Main" / file, old, new)
  with pytest.raises(errors.UsageError, match=said):
    list_all(open_source(voc2007, "--voc_splits=val"))


def test_a_class_without_its_list(voc2007):
  (voc2007 / "ImageSets" / "Main" / "cat_val.txt").unlink()
  with pytest.raises(errors.UsageError, match=r"lacks 1 of the classes' 20 lists: cat_val.txt"):
    open_source(voc2007)


def test_a_test_set_without_truth(voc2007):
  # VOC2012's test archive: images and test.txt, but neither lists nor annotations.
  for path in voc2007.glob("ImageSets/Main/*_test.txt"):
    path.unlink()
  for at in SETS["test"]:
    (voc2007 / "Annotations" / f"{at + 1:06d}.xml").unlink()
  with pytest.raises(errors.UsageError, match=r"test.txt but no .* 7 of its images.*=train,val"):
    open_source(voc2007)
  assert len(list_all(open_source(voc2007, "--voc_splits=train,val"))[0]) == 13


@pytest.mark.parametrize(
  ("below", "flags", "said"),
  [
    ("nowhere", (), "no such folder"),
    ("VOC2007/JPEGImages", (), "is no folder VOC<year> and holds none"),
    ("VOC2007", ("--voc_splits=train,vali",), "expected sets of train, val, test, trainval"),
    ("VOC2007", ("--voc_splits=",), "expected sets of"),
    ("VOC2007", ("--voc_splits=trainval,train",), "names images twice"),
    ("VOC2007", ("--voc_splits=val,trainval",), "names images twice"),
    ("VOC2007", ("--voc_splits=val,val",), "names images twice"),
    ("VOC2007", ("--voc_task=action",), "ImageSets/Action has no sets; expected sets of"),
  ],
)
def test_what_is_not_there(voc2007, below, flags, said):
  with pytest.raises(errors.UsageError, match=said):
    open_source(voc2007.parent / below, *flags)


def test_two_years_in_one_folder(voc2007):
  shutil.copytree(voc2007, voc2007.parent / "VOC2012")
  with pytest.raises(errors.UsageError, match="holds VOC2007, VOC2012; expected one"):
    open_source(voc2007.parent)


@pytest.fixture
def voc2012(tmp_path, write_files, paint, save):
  """The layout of the action task; a.jpg has a horse and two people, b.jpg and c.jpg one each."""
  riding = "<actions><jumping>0</jumping><ridinghorse>1</ridinghorse></actions>"
  files = {
    "Annotations/a.xml": write_annotation(
      [
        write_object("horse", (1, 1, 50, 30), 0),
        write_object("person", (3, 4, 30, 20), 0, riding),
        write_object("person", (30, 10, 60, 40), 0),
      ]
    ),
    "Annotations/b.xml": write_annotation([write_object("person", (6, 4, 30, 20), 0)]),
    "Annotations/c.xml": write_annotation([write_object("person", (9, 4, 30, 20), 0)]),
    "ImageSets/Action/train.txt": b"a\nb\nc\n",
  }
  positive = {"ridinghorse": ("a  2",), "running": ("a  2", "b  1")}
  people = ("a  2", "a  3", "b  1", "c  1")
  for key in ACTIONS:
    lines = [f"{who} {1 if who in positive.get(key, ()) else -1:2d}" for who in people]
    if key == "jumping":  # was not asked of people of earlier years
      lines = lines[:3]
    files[f"ImageSets/Action/{key}_train.txt"] = ("\n".join(lines) + "\n").encode()
  files |= {f"JPEGImages/{image}.jpg": save(paint(3, 40, 60)) for image in "abc"}
  return write_files(tmp_path / "VOC2012", files)


def test_actions(voc2012):
  source = open_source(voc2012, "--voc_task=action")
  keys = sorted([*ACTIONS, "other"])
  assert len(keys) == 11
  assert source.classes() == [(key, key) for key in keys]
  items, annotations = list_all(source)
  jumping, other, horse, running = (
    keys.index(key) for key in ("jumping", "other", "ridinghorse", "running")
  )
  assert {i.id: (i.label, i.labels, i.uncertain) for i in items.values()} == {
    "VOC2012/a#2": (horse, (horse, running), ()),
    "VOC2012/a#3": (other, (other,), ()),
    "VOC2012/b#1": (running, (running,), ()),
    "VOC2012/c#1": (jumping, (), (jumping, other)),
  }
  assert {a.id: a.boxes for a in annotations.values()} == {
    "VOC2012/a#2": (schema.Box(3 / 60, 4 / 40, 30 / 60, 20 / 40, horse),),
    "VOC2012/a#3": (schema.Box(30 / 60, 10 / 40, 1, 1, other),),
    "VOC2012/b#1": (schema.Box(6 / 60, 4 / 40, 30 / 60, 20 / 40, running),),
    "VOC2012/c#1": (schema.Box(9 / 60, 4 / 40, 30 / 60, 20 / 40, jumping),),
  }
  assert source.read(items["VOC2012/a#3"]) == (voc2012 / "JPEGImages" / "a.jpg").read_bytes()


def test_a_person_that_the_annotation_lacks(voc2012):
  change(voc2012 / "ImageSets" / "Action" / "walking_train.txt", "a  2", "a  1")
  change(voc2012 / "ImageSets" / "Action" / "walking_train.txt", "b  1", "b  2")
  _, annotations = list_all(open_source(voc2012, "--voc_task=action"))
  assert annotations["VOC2012/a#1"].refused == ("box_unknown_class", "'horse'")
  assert annotations["VOC2012/b#2"].refused == ("box_no_object", "it has 1 objects")


def test_actions_without_truth(voc2012):
  (voc2012 / "ImageSets" / "Action" / "test.txt").write_text("a\n")
  with pytest.raises(errors.UsageError, match=r"test.txt but no jumping_test.txt"):
    open_source(voc2012, "--voc_task=action")


def test_a_damaged_list_of_people(voc2012):
  change(voc2012 / "ImageSets" / "Action" / "walking_train.txt", "a  2 -1", "a two -1")
  with pytest.raises(errors.UsageError, match=r"walking_train.txt, line 1: got 'a two -1'"):
    list_all(open_source(voc2012, "--voc_task=action"))


def test_a_bucket_is_listed_as_a_folder_is(voc2007, tmp_path, monkeypatch):
  monkeypatch.setattr(bucket.Bucket, "root", tmp_path / "buckets")
  shutil.copytree(voc2007.parent, tmp_path / "buckets" / "data" / "VOCdevkit")
  remote, local = open_source("bucket://data"), open_source(voc2007)
  assert list_all(remote) == list_all(local)
  assert remote.describe() == local.describe()
  item = list_all(remote)[0]["VOC2007/000003.jpg"]
  assert remote.read(item) == local.read(item)


def test_records(voc2007, tmp_path, read_records, read_manifest):
  output = tmp_path / "out"
  flags = ("--scales=32", "--shards=train=2,test=1", "--voc_splits=trainval,test")
  assert convert.main(["--source=voc", f"--input={voc2007}", f"--output={output}", *flags]) == 0
  assert read_manifest(output).splits == {"train": 13, "test": 7}
  records = [r for split in ("train", "test") for r in read_records(output, 32, split)]
  assert len(records) == 20
  for record in records:
    boxes, labels, sure = read_as_tfds_does(voc2007, record.filename.removesuffix(".jpg"))
    assert (set(record.labels), set(record.uncertain)) == (sure, labels - sure)
    assert [(b.label, b.difficult) for b in record.boxes] == [(b.label, b.difficult) for b in boxes]
    found = [(b.xmin, b.ymin, b.xmax, b.ymax) for b in record.boxes]
    expected = [(b.xmin, b.ymin, b.xmax, b.ymax) for b in boxes]
    assert found == [pytest.approx(corners, abs=1e-7) for corners in expected]
