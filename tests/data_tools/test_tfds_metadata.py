"""TensorFlow Datasets reads our shards with its own code, and its own words for the features."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from data_tools import pixels, tfds_metadata
from tests import samples
from vggtf import manifest, schema

LABELS = [("n01", "crane"), ("n02", "crane"), ("n03", "tench")]  # as ImageNet, a name twice
BOXES = (schema.Box(0.125, 0.25, 0.5, 1.0, 1, True), schema.Box(0.0, 0.5, 0.75, 0.625, 2))
SCALES = (0, 32)


def make_records(split: str, count: int, scale: int) -> list[schema.Record]:
  found = []
  for at in range(count):
    original = pixels.encode(samples.draw(split, at, 3), 95)
    one = samples.record(split, at, 3, scale, original)
    key, text = LABELS[one.label]
    labels = () if at % 2 else tuple(sorted({one.label, 2}))
    one = dataclasses.replace(one, synset=key, text=text, labels=labels, boxes=BOXES[: at % 3])
    found.append(dataclasses.replace(one, repairs=("from_cmyk",) * (at % 2), uncertain=(0,)))
  return found


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
  folder = tmp_path_factory.mktemp("set")
  counts = {"train": 11, "validation": 4}
  stored = {
    split: {scale: make_records(split, count, scale) for scale in SCALES}
    for split, count in counts.items()
  }
  samples.write_set(folder, stored, LABELS)
  content = manifest.from_json((folder / manifest.NAME).read_text(), "a")
  for scale in SCALES:
    for name, text in tfds_metadata.describe(content, scale).items():
      (folder / f"scale_{scale}" / name).write_text(text)
  return folder, stored, content


def open_by_tfds(data_set, scale: int):
  tfds = pytest.importorskip("tensorflow_datasets")
  return tfds.builder_from_directory(str(data_set[0] / f"scale_{scale}"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_tfds_gives_the_records_that_were_written(data_set, scale, split):
  expected = {record.id: record for record in data_set[1][split][scale]}
  dataset = open_by_tfds(data_set, scale).as_dataset(split=split)
  seen = set()
  for example in dataset.as_numpy_iterator():
    image = example["image"]
    record = expected[image["id"].decode()]
    seen.add(record.id)
    by_pillow = np.asarray(Image.open(io.BytesIO(record.encoded)), np.int64)
    assert image["encoded"].dtype == np.uint8
    apart = np.abs(image["encoded"] - by_pillow)  # TFDS takes TensorFlow's fast, coarser DCT
    assert apart.max() <= 8
    assert apart.mean() < 2
    for key in ("height", "width", "scale", "original_height", "original_width"):
      assert image[key] == getattr(record, key)
    assert image["class"]["label"] == record.label
    assert image["class"]["labels"].tolist() == list(record.labels)
    assert image["class"]["uncertain"].tolist() == [0]
    assert image["class"]["synset"].decode() == record.synset
    assert image["class"]["text"].decode() == record.text
    assert image["repairs"].tolist() == [kind.encode() for kind in record.repairs]
    boxes = image["object"]["bbox"]
    for key in ("xmin", "ymin", "xmax", "ymax", "label", "difficult"):
      assert boxes[key].tolist() == [getattr(box, key) for box in record.boxes]
  assert seen == set(expected)


def test_tfds_knows_numbers_sizes_and_class_keys(data_set):
  folder, _, content = data_set
  info = open_by_tfds(data_set, 32).info
  assert info.splits["train"].num_examples == 11
  assert info.splits["validation"].num_examples == 4
  assert info.splits["train"].shard_lengths == [
    shard.records for shard in content.shards["scale_32/train"]
  ]
  sizes = [path.stat().st_size for path in (folder / "scale_32").glob("train-*")]
  assert int(info.splits["train"].num_bytes) == sum(sizes)
  assert sorted(info.splits["train"].filenames) == sorted(
    path.name for path in (folder / "scale_32").glob("train-*")
  )
  label = info.features["image"]["class"]["label"]
  assert label.names == ["n01", "n02", "n03"]
  assert label.num_classes == 3


def test_tfds_reads_a_part_of_a_split(data_set):
  tfds = pytest.importorskip("tensorflow_datasets")
  builder = open_by_tfds(data_set, 32)
  parts = [builder.as_dataset(split=part) for part in ("train[:5]", "train[5:]")]
  assert [len(list(tfds.as_numpy(part))) for part in parts] == [5, 6]


def test_tfds_describes_the_features_in_the_same_words(data_set, tmp_path):
  features = open_by_tfds(data_set, 32).info.features
  features.save_config(str(tmp_path))
  (by_us,) = (t for n, t in tfds_metadata.describe(data_set[2], 32).items() if n == "features.json")
  assert json.loads((tmp_path / "features.json").read_text()) == json.loads(by_us)
  assert {path.name for path in tmp_path.iterdir()} == {
    "features.json",
    "image-class-label.labels.txt",
  }


def test_every_key_of_a_record_is_described(data_set):
  tf = pytest.importorskip("tensorflow")
  serialized = schema.encode(data_set[1]["train"][32][0])
  described = json.loads(tfds_metadata.describe(data_set[2], 32)["features.json"])
  keys = set()

  def walk(feature: dict, path: str):
    if "featuresDict" not in feature:
      keys.add(path)
      return
    for name, inner in feature["featuresDict"]["features"].items():
      walk(inner, f"{path}/{name}" if path else name)

  walk(described, "")
  assert keys == set(tf.train.Example.FromString(serialized).features.feature)


def test_equal_manifests_have_equal_texts(data_set):
  folder, _, content = data_set
  reordered = dataclasses.replace(content, splits=dict(reversed(content.splits.items())))
  for scale in SCALES:
    texts = tfds_metadata.describe(content, scale)
    assert tfds_metadata.describe(reordered, scale) == texts
    assert not any(str(folder) in text for text in texts.values())
