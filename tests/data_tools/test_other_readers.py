"""Programs that know nothing of us read the shards: by the classic keys, and without TensorFlow.

Our labels count from 0, as TF-Slim's ImageNet tables do once the background class is dropped;
build_imagenet_data and Cloud TPU's imagenet_to_gcs count from 1, and their readers subtract 1.
"""

import dataclasses
import hashlib
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from data_tools import pixels
from tests import samples
from vggtf import schema

CLASSES = 3
BOXES = (schema.Box(0.125, 0.25, 0.5, 1.0, 1), schema.Box(0.0, 0.5, 0.75, 0.625, 2))


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
  """Returns the files of a training split and its records by id; half have boxes."""
  folder = tmp_path_factory.mktemp("set")
  stored = {}
  for split, count in (("train", 9), ("validation", 3)):
    drawn = [pixels.encode(samples.draw(split, at, CLASSES), 95) for at in range(count)]
    found = [samples.record(split, at, CLASSES, 32, data) for at, data in enumerate(drawn)]
    stored[split] = {
      32: [dataclasses.replace(one, boxes=BOXES * (at % 2)) for at, one in enumerate(found)]
    }
  samples.write_set(folder, stored, [(f"n{at:02d}", f"class {at}") for at in range(CLASSES)])
  files = sorted(str(path) for path in (folder / "scale_32").glob("train-*"))
  return files, {record.id: record for record in stored["train"][32]}


def classic_features(tf, label) -> dict:
  """What all of them ask for."""
  boxes = {
    f"image/object/bbox/{side}": tf.io.VarLenFeature(tf.float32)
    for side in ("xmin", "ymin", "xmax", "ymax")
  }
  return boxes | {
    "image/encoded": tf.io.FixedLenFeature((), tf.string, ""),
    "image/class/label": label,
    "image/class/text": tf.io.FixedLenFeature([], tf.string, ""),
  }


def slim_features(tf) -> dict:
  """Those of TF-Slim's datasets/imagenet.py and Cloud TPU's resnet/imagenet_input.py."""
  return classic_features(tf, tf.io.FixedLenFeature([], tf.int64, -1)) | {
    "image/format": tf.io.FixedLenFeature((), tf.string, "jpeg"),
    "image/object/class/label": tf.io.VarLenFeature(tf.int64),
  }


def inception_features(tf) -> dict:
  """Those of the readers of build_imagenet_data's files, in Inception and in tf_models' ResNet."""
  return classic_features(tf, tf.io.FixedLenFeature([1], tf.int64, -1))


@pytest.mark.parametrize("features", [slim_features, inception_features])
def test_classic_readers_find_what_they_ask_for(data_set, features):
  tf = pytest.importorskip("tensorflow")
  files, expected = data_set
  seen = set()
  for serialized in tf.data.TFRecordDataset(files):
    parsed = tf.io.parse_single_example(serialized, features(tf))
    (record,) = (r for r in expected.values() if r.encoded == parsed["image/encoded"].numpy())
    seen.add(record.id)
    assert int(np.squeeze(parsed["image/class/label"])) == record.label
    assert parsed["image/class/text"] == record.text.encode()
    for side in ("xmin", "ymin", "xmax", "ymax"):
      corners = parsed[f"image/object/bbox/{side}"].values.numpy().tolist()
      assert corners == [getattr(box, side) for box in record.boxes]
    if "image/format" in parsed:
      assert parsed["image/format"] == b"JPEG"
    image = tf.image.decode_image(parsed["image/encoded"], 3)
    assert image.shape == (record.height, record.width, 3)
  assert seen == set(expected)
  labels = sorted(record.label for record in expected.values())
  assert labels == sorted([0, 1, 2] * 3)  # from 0, no background


# Its messages have the names of TensorFlow's, so both cannot be in one process.
READ_BY_TFRECORD = """
import hashlib, json, sys
from tfrecord import reader
wanted = {"image/id": "byte", "image/encoded": "byte", "image/class/label": "int",
          "image/object/bbox/xmin": "float"}
for file in sys.argv[1:]:
  for found in reader.tfrecord_loader(file, None, wanted):
    print(json.dumps([
      found["image/id"].decode(),
      hashlib.sha256(found["image/encoded"]).hexdigest(),
      found["image/class/label"].tolist(),
      found["image/object/bbox/xmin"].tolist(),
    ]))
"""


def test_the_tfrecord_package_reads_the_same(data_set):
  if not importlib.util.find_spec("tfrecord"):
    pytest.skip("the package tfrecord is not installed")
  files, expected = data_set
  done = subprocess.run(
    [sys.executable, "-c", READ_BY_TFRECORD, *files], capture_output=True, text=True, check=True
  )
  read = sorted(json.loads(line) for line in done.stdout.splitlines())
  assert read == sorted(
    [
      record.id,
      hashlib.sha256(record.encoded).hexdigest(),
      [record.label],
      [box.xmin for box in record.boxes],
    ]
    for record in expected.values()
  )
