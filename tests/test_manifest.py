import dataclasses
import hashlib
import json

import pytest

from vggtf import errors, manifest, schema

MANIFEST = manifest.Manifest(
  options={"scales": [32, 40], "quality": 95, "source": {"name": "folder"}},
  libraries={"numpy": "2.4.6"},
  scales=(32, 40),
  labels=(("n01", "tench"), ("n02", "poisson doré")),
  splits={"train": 3, "validation": 0},
  class_counts={"train": (1, 2), "validation": (0, 0)},
  shards={
    "scale_32/train": (
      manifest.Shard("scale_32/train-00000-of-00002", 1, 100, "ab" * 32),
      manifest.Shard("scale_32/train-00001-of-00002", 2, 200, "cd" * 32),
    ),
    "scale_32/validation": (),
  },
  statistics=manifest.Statistics(
    4096,
    (123.68, 116.779, 0.1),
    ((1.5, 0.1, 0.2), (0.1, 2.5, 1e-17), (0.2, 1e-17, 3.5)),
    (3.52, 2.51, 1.47),
    ((0.1, 0.2, 0.9), (0.2, 0.9, -0.2), (0.9, -0.2, 0.1)),
  ),
  inputs={
    "train": manifest.Inputs(5, 1000, "ef" * 32, 1, 2, 7),
    "validation": manifest.Inputs(0, 0, "ab" * 32, 0, 0, 0),
  },
  rejected={"truncated": 1},
  left_out={"not_drawn": 1},
  refused_boxes={"no_object": 3},
)


@pytest.mark.parametrize("statistics", [MANIFEST.statistics, None])
def test_it_comes_back_as_it_was(statistics):
  written = dataclasses.replace(MANIFEST, statistics=statistics)
  assert manifest.from_json(written.to_json(), "a") == written


def test_equal_manifests_have_equal_text_whatever_the_order_of_keys():
  reordered = dataclasses.replace(MANIFEST, splits=dict(reversed(MANIFEST.splits.items())))
  assert reordered.to_json() == MANIFEST.to_json()


def test_its_text_is_plain_json_with_the_digest_of_the_rest():
  content = json.loads(MANIFEST.to_json())
  assert content["shards"]["scale_32/train"][1]["records"] == 2
  assert content["statistics"]["mean_rgb"] == [123.68, 116.779, 0.1]
  assert content["statistics"]["eigenvectors"][1] == [0.2, 0.9, -0.2]
  assert content["inputs"]["train"]["boxes"] == 7
  assert content["schema_version"] == schema.VERSION == 2
  digest = content.pop("digest")
  assert digest == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def test_another_version_is_refused_with_both_versions_and_the_cure():
  newer = dataclasses.replace(MANIFEST, schema_version=schema.VERSION + 1)
  expected = (
    r"^/d/manifest.json has schema version 3, this program reads 2; convert the data again, or use "
    "the version of vggtf that wrote it$"
  )
  with pytest.raises(errors.IntegrityError, match=expected):
    manifest.from_json(newer.to_json(), "/d/manifest.json")


@pytest.mark.parametrize(
  ("before", "after"),
  [
    ('"records": 2', '"records": 3'),
    ("123.68", "123.69"),
    ('"tench"', '"trench"'),
    ('"quality": 95', '"quality": 96'),
    ('"truncated": 1', '"truncated": 0'),
    ('"not_drawn": 1', '"not_drawn": 0'),
    ('"no_object": 3', '"no_object": 2'),
    ('"duplicates": 1', '"duplicates": 2'),
    ("3.52", "3.53"),
    ('\n "digest": "', '\n "digest": "0'),
    ('"rejected"', '"accepted"'),
  ],
)
def test_an_edit_is_found(before, after):
  text = MANIFEST.to_json()
  assert text.count(before) == 1
  with pytest.raises(errors.IntegrityError, match=r"^a was edited or damaged .*; convert again"):
    manifest.from_json(text.replace(before, after), "a")


def test_another_layout_of_the_same_content_is_no_edit():
  content = json.loads(MANIFEST.to_json())
  assert manifest.from_json(json.dumps(content), "a") == MANIFEST


@pytest.mark.parametrize(
  "text",
  [
    *("", "{", MANIFEST.to_json()[:-20], "[]", "3", "null", '"schema_version"', "{}", "\0\0"),
    *('{"schema_version": 1}', '{"digest": "x"}'),
  ],
)
def test_what_is_no_manifest_is_refused_by_name(text):
  with pytest.raises(errors.IntegrityError, match=r"^a is not a manifest .*; convert the data"):
    manifest.from_json(text, "a")
