import contextlib
import dataclasses
import fractions
import math

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from vggtf import errors, schema

BOXES = (schema.Box(0.125, 0.25, 0.5, 1.0, 3), schema.Box(0.0, 0.1, 0.3, 0.7, 2, True))
RECORD = schema.Record(
  id="train/n02/x.JPEG",
  encoded=b"\xff\xd8\xff\0\x80",
  height=375,
  width=500,
  label=7,
  synset="n02",
  text="tench, Tinca tinca – Schleie",
  filename="x.JPEG",
  scale=256,
  original_height=750,
  original_width=1000,
  boxes=BOXES,
  labels=(7, 11),
  uncertain=(2,),
  repairs=("damaged_scan", "from_cmyk"),
)


def example_by_tensorflow(record: schema.Record) -> tf.train.Example:
  def of_bytes(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

  def of_ints(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

  def of_floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))

  feature = {
    "image/encoded": of_bytes(record.encoded),
    "image/format": of_bytes(b"JPEG"),
    "image/colorspace": of_bytes(b"RGB"),
    "image/channels": of_ints(3),
    "image/height": of_ints(record.height),
    "image/width": of_ints(record.width),
    "image/class/label": of_ints(record.label),
    "image/class/synset": of_bytes(record.synset.encode()),
    "image/class/text": of_bytes(record.text.encode()),
    "image/filename": of_bytes(record.filename.encode()),
    "image/id": of_bytes(record.id.encode()),
    "image/scale": of_ints(record.scale),
    "image/original_height": of_ints(record.original_height),
    "image/original_width": of_ints(record.original_width),
    "image/class/labels": of_ints(*record.labels),
    "image/class/uncertain": of_ints(*record.uncertain),
    "image/repairs": of_bytes(*(kind.encode() for kind in record.repairs)),
    "image/object/bbox/label": of_ints(*(box.label for box in record.boxes)),
    "image/object/bbox/difficult": of_ints(*(int(box.difficult) for box in record.boxes)),
  }
  for side in ("xmin", "ymin", "xmax", "ymax"):
    feature[f"image/object/bbox/{side}"] = of_floats([getattr(box, side) for box in record.boxes])
  return tf.train.Example(features=tf.train.Features(feature=feature))


def in_float32(record: schema.Record) -> schema.Record:
  def rounded(box):
    corners = (float(np.float32(side)) for side in (box.xmin, box.ymin, box.xmax, box.ymax))
    return schema.Box(*corners, box.label, box.difficult)

  return dataclasses.replace(record, boxes=tuple(map(rounded, record.boxes)))


KEYS = sorted(
  set(example_by_tensorflow(RECORD).features.feature)
  - {"image/format", "image/colorspace", "image/channels"}
)
PICTURE_KEYS = {f"image/{key}" for key in ("id", "encoded", "height", "width", "class/label")}
LISTS = {"image/class/labels", "image/class/uncertain", "image/repairs"}  # of any length
BOX_KEYS = [key for key in KEYS if "bbox" in key]
NEITHER = {"boxes": (), "labels": (), "uncertain": (), "repairs": ()}


@pytest.mark.parametrize("change", [{}, NEITHER, *({key: ()} for key in NEITHER)], ids=str)
def test_what_we_encode_is_the_example_that_tensorflow_builds(change):
  record = dataclasses.replace(RECORD, **change)
  encoded = schema.encode(record)
  assert tf.train.Example.FromString(encoded) == example_by_tensorflow(record)
  built = example_by_tensorflow(record).SerializeToString(deterministic=True)
  assert encoded == built


def test_tensorflow_parses_it_by_the_classic_keys():
  parsed = tf.io.parse_single_example(
    schema.encode(RECORD),
    {
      "image/encoded": tf.io.FixedLenFeature([], tf.string),
      "image/format": tf.io.FixedLenFeature([], tf.string),
      "image/class/label": tf.io.FixedLenFeature([1], tf.int64),
      "image/class/synset": tf.io.FixedLenFeature([], tf.string),
      "image/class/text": tf.io.FixedLenFeature([], tf.string),
      "image/filename": tf.io.FixedLenFeature([], tf.string),
      "image/height": tf.io.FixedLenFeature([], tf.int64),
      "image/width": tf.io.FixedLenFeature([], tf.int64),
      "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
      "image/object/bbox/ymax": tf.io.VarLenFeature(tf.float32),
      "image/object/bbox/label": tf.io.VarLenFeature(tf.int64),
      "image/class/labels": tf.io.RaggedFeature(tf.int64),
      "image/repairs": tf.io.RaggedFeature(tf.string),
    },
  )
  assert parsed["image/encoded"] == RECORD.encoded
  assert parsed["image/format"] == b"JPEG"
  assert parsed["image/class/label"] == [7]
  assert parsed["image/class/synset"] == b"n02"
  assert parsed["image/class/text"].numpy().decode() == RECORD.text
  assert parsed["image/filename"] == b"x.JPEG"
  assert (parsed["image/height"], parsed["image/width"]) == (375, 500)
  assert parsed["image/object/bbox/xmin"].values.numpy().tolist() == [0.125, 0.0]
  assert parsed["image/object/bbox/ymax"].values.numpy().tolist() == [1.0, np.float32(0.7)]
  assert parsed["image/object/bbox/label"].values.numpy().tolist() == [3, 2]
  assert parsed["image/class/labels"].numpy().tolist() == [7, 11]
  assert parsed["image/repairs"].numpy().tolist() == [b"damaged_scan", b"from_cmyk"]


def test_what_tensorflow_builds_is_decoded():
  serialized = example_by_tensorflow(RECORD).SerializeToString()
  assert schema.decode(serialized, "a") == in_float32(RECORD)


NUMBERS = strategies.integers(0, 2**63 - 1)
SOME_NUMBERS = strategies.lists(NUMBERS, max_size=4).map(tuple)
FRACTIONS = strategies.floats(0, 1, width=32)
BOX_FIELDS = (*[FRACTIONS] * 4, NUMBERS, strategies.booleans())


@hypothesis.given(
  strategies.builds(
    schema.Record,
    id=strategies.text(),
    encoded=strategies.binary(),
    height=NUMBERS,
    width=NUMBERS,
    label=strategies.integers(-(2**63), 2**63 - 1),
    synset=strategies.text(),
    text=strategies.text(),
    filename=strategies.text(),
    scale=NUMBERS,
    original_height=NUMBERS,
    original_width=NUMBERS,
    boxes=strategies.lists(strategies.builds(schema.Box, *BOX_FIELDS), max_size=4).map(tuple),
    labels=SOME_NUMBERS,
    uncertain=SOME_NUMBERS,
    repairs=strategies.lists(strategies.text(), max_size=3).map(tuple),
  )
)
@hypothesis.settings(deadline=None)
def test_any_record_comes_back_as_it_was(record):
  encoded = schema.encode(record)
  assert schema.decode(encoded, "a") == record
  assert encoded == schema.encode(record)
  picture = schema.decode_picture(encoded, "a")
  assert picture == tuple(getattr(record, name) for name in picture._fields)


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named_with_file_and_cure(key):
  example = example_by_tensorflow(RECORD)
  del example.features.feature[key]
  serialized = example.SerializeToString()
  expected = rf"^train-00001 record 5: .* nothing under the key '{key}'.*convert the data again"
  with pytest.raises(errors.IntegrityError, match=expected):
    schema.decode(serialized, "train-00001 record 5")
  if key in PICTURE_KEYS:
    with pytest.raises(errors.IntegrityError, match=expected):
      schema.decode_picture(serialized, "train-00001 record 5")
  else:
    schema.decode_picture(serialized, "a")


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_the_wrong_type_is_named(key):
  example = example_by_tensorflow(RECORD)
  kind = example.features.feature[key].WhichOneof("kind")
  wrong = "bytes_list" if kind != "bytes_list" else "int64_list"
  value = b"7" if wrong == "bytes_list" else 7
  getattr(example.features.feature[key], wrong).value.append(value)
  expected = rf"^a: record has {wrong} under the key '{key}', expected {kind}; convert the data"
  with pytest.raises(errors.IntegrityError, match=expected):
    schema.decode(example.SerializeToString(), "a")


def test_a_feature_of_no_type_counts_as_nothing():
  example = example_by_tensorflow(RECORD)
  example.features.feature["image/class/label"].Clear()
  with pytest.raises(errors.IntegrityError, match="has nothing under the key 'image/class/label'"):
    schema.decode(example.SerializeToString(), "a")


@pytest.mark.parametrize("key", sorted({*KEYS} - {*BOX_KEYS} - LISTS))
@pytest.mark.parametrize("number", [0, 2])
def test_other_than_one_value_is_named(key, number):
  example = example_by_tensorflow(RECORD)
  feature = example.features.feature[key]
  values = getattr(feature, feature.WhichOneof("kind")).value
  values[:] = list(values) * number
  expected = rf"^a: record has {number} values under the key '{key}', expected 1; convert the data"
  with pytest.raises(errors.IntegrityError, match=expected):
    schema.decode(example.SerializeToString(), "a")


@pytest.mark.parametrize("key", BOX_KEYS)
def test_boxes_with_a_corner_too_few_are_named(key):
  example = example_by_tensorflow(RECORD)
  feature = example.features.feature[key]
  del getattr(feature, feature.WhichOneof("kind")).value[-1]
  with pytest.raises(errors.IntegrityError, match=r"^a: .*image/object/bbox.*convert the data"):
    schema.decode(example.SerializeToString(), "a")


@hypothesis.given(strategies.binary())
@hypothesis.settings(deadline=None)
def test_garbage_is_refused_by_name_and_never_by_another_error(garbage):
  with pytest.raises(errors.IntegrityError, match=r"^a: .*convert the data again"):
    schema.decode(garbage, "a")


@hypothesis.given(strategies.data())
@hypothesis.settings(deadline=None)
def test_a_damaged_example_raises_no_other_error(data):
  damaged = bytearray(schema.encode(RECORD))
  at = data.draw(strategies.integers(0, len(damaged) - 1))
  damaged[at] ^= data.draw(strategies.integers(1, 255))
  with contextlib.suppress(errors.IntegrityError):
    assert isinstance(schema.decode(bytes(damaged), "a"), schema.Record)


SIDES = strategies.integers(1, 65_535)


@hypothesis.given(SIDES, SIDES, SIDES)
def test_sides_are_rounded_half_up(one, other, scale):
  shortest, longest = sorted((one, other))
  exact = fractions.Fraction(longest * scale, shortest)
  assert schema.scaled_side(longest, shortest, scale) == math.floor(
    exact + fractions.Fraction(1, 2)
  )
  assert schema.scaled_side(shortest, shortest, scale) == scale


def test_a_half_goes_up():
  assert schema.scaled_side(3, 2, 3) == 5  # 4.5
  assert schema.scaled_side(5, 2, 1) == 3  # 2.5


@pytest.mark.parametrize(
  ("size", "scale", "upscale", "stored"),
  [
    ((375, 500), 256, True, (256, 341)),
    ((500, 375), 256, False, (341, 256)),
    ((375, 500), 0, True, (375, 500)),
    ((3, 5), 0, False, (3, 5)),
    ((100, 150), 256, True, (256, 384)),
    ((100, 150), 256, False, (100, 150)),
    ((256, 300), 256, False, (256, 300)),
    ((257, 300), 256, False, (256, 299)),
    ((1, 1000), 2, True, (2, 2000)),
  ],
)
def test_the_stored_size_is_the_scale_s_or_the_original_s(size, scale, upscale, stored):
  assert schema.stored_size(*size, scale, upscale) == stored


def test_sides_as_tensors_are_the_same():
  sides = np.random.RandomState(0).randint(1, 65_536, (1000, 3))
  shortest, longest = np.sort(sides[:, :2]).T
  tensors = (tf.constant(values, tf.int64) for values in (longest, shortest, sides[:, 2]))
  expected = [
    schema.scaled_side(*numbers)
    for numbers in zip(longest.tolist(), shortest.tolist(), sides[:, 2].tolist(), strict=True)
  ]
  assert schema.scaled_side(*tensors).numpy().tolist() == expected


@pytest.mark.parametrize(
  ("labels", "uncertain", "classes"),
  [((), (), (7,)), ((7, 9), (), (7, 9)), ((9,), (7,), (9,)), ((), (7,), ())],
)
def test_classes_are_those_that_the_image_surely_shows(labels, uncertain, classes):
  assert dataclasses.replace(RECORD, labels=labels, uncertain=uncertain).classes == classes
