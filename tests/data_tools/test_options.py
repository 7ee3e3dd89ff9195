"""Every option that cannot be is refused, by the name of its flag."""

import dataclasses
import json

import pytest

from data_tools.options import Options, parse_scales, parse_shards
from vggtf import errors

GOOD = {"scales": (32, 48), "shards": (("train", 4), ("validation", 2))}


@pytest.mark.parametrize(
  ("flag", "change"),
  [
    ("--scales", {"scales": ()}),
    ("--scales", {"scales": (-1, 32)}),
    ("--scales", {"scales": (32, 65_501)}),
    ("--scales", {"scales": (48, 32)}),
    ("--scales", {"scales": (32, 32)}),
    ("--shards", {"shards": ()}),
    ("--shards", {"shards": (("train", 0),)}),
    ("--shards", {"shards": (("train", -1),)}),
    ("--shards", {"shards": (("train", 100_000),)}),
    ("--shards", {"shards": (("train", 1), ("train", 2))}),
    ("--shards", {"shards": (("../train", 1),)}),
    ("--quality", {"quality": 0}),
    ("--quality", {"quality": 101}),
    ("--max_pixels", {"max_pixels": 0}),
    ("--max_pixels", {"max_pixels": 10**9}),
    ("--max_reject_fraction", {"max_reject_fraction": 1.1}),
    ("--max_reject_fraction", {"max_reject_fraction": float("nan")}),
    ("--damaged_jpeg", {"damaged_jpeg": "maybe"}),
  ],
)
def test_impossible_options_are_refused(flag, change):
  with pytest.raises(errors.UsageError, match=f"^{flag}: got .*, expected "):
    Options(**GOOD | change)


def test_options_cannot_change():
  with pytest.raises(dataclasses.FrozenInstanceError):
    Options(**GOOD).quality = 3


def test_description_is_json():
  described = json.loads(json.dumps(Options(**GOOD).describe()))
  assert described["shards"] == {"train": 4, "validation": 2}
  assert described["scales"] == [32, 48]
  assert set(described) == {field.name for field in dataclasses.fields(Options)}


def test_flags_are_parsed():
  assert parse_scales("48,32") == (32, 48)
  assert parse_shards("train=4, validation=2") == (("train", 4), ("validation", 2))


@pytest.mark.parametrize("text", ["", "a", "32,", "3.5"])
def test_wrong_scales_are_refused(text):
  with pytest.raises(errors.UsageError, match="--scales: got"):
    parse_scales(text)


@pytest.mark.parametrize("text", ["", "4", "train", "train=", "train=a", "train=1=2"])
def test_wrong_shards_are_refused(text):
  with pytest.raises(errors.UsageError, match="--shards: got"):
    parse_shards(text)
