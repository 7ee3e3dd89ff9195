"""The files that let TensorFlow Datasets read the shards of one scale where they are.

`tfds.builder_from_directory("OUT/scale_256").as_dataset(split="train")` then gives each record as
nested dictionaries under the parts of its keys, the image decoded. A class is known by its key (for
ImageNet its WNID): TFDS wants names that differ, and two of ImageNet's readable ones are the same.
"""

import json

from data_tools import sharding
from vggtf import manifest

_FEATURES = "tensorflow_datasets.core.features"
_TEXTS = ("format", "colorspace", "filename", "id", "class/synset", "class/text")
_NUMBERS = ("height", "width", "channels", "scale", "original_height", "original_width")
_NUMBER_LISTS = ("class/labels", "class/uncertain", "object/bbox/label", "object/bbox/difficult")
_FRACTION_LISTS = tuple(f"object/bbox/{side}" for side in ("xmin", "ymin", "xmax", "ymax"))
_IMAGE = {"dtype": "uint8", "encodingFormat": "jpeg", "shape": {"dimensions": ["-1", "-1", "3"]}}


def describe(content: manifest.Manifest, scale: int) -> dict[str, str]:
  """Returns file name -> text of what TFDS reads beside the shards of a scale.

  Equal manifests give equal texts; there is no time or path in them.
  """
  return {
    "dataset_info.json": _to_json(_describe_set(content, scale)),
    "features.json": _to_json(_nest(_describe_features(len(content.labels)))),
    "image-class-label.labels.txt": "".join(f"{key}\n" for key, _ in content.labels),
  }


def _describe_set(content: manifest.Manifest, scale: int) -> dict:
  splits = []
  for split in sorted(content.splits):
    shards = content.shards[f"{sharding.scale_folder(scale)}/{split}"]
    splits.append(
      {
        "name": split,
        "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}",
        "numBytes": str(sum(shard.bytes for shard in shards)),
        "shardLengths": [str(shard.records) for shard in shards],
      }
    )
  return {
    "name": "vggtf",
    "version": f"{content.schema_version}.0.0",
    "description": "Written by vggtf's data_tools.convert.",
    "fileFormat": "tfrecord",
    "splits": splits,
  }


def _describe_features(classes: int) -> dict[str, dict]:
  """The keys of vggtf/schema.py, each with its TFDS feature."""
  found = {
    "image/encoded": _feature("image_feature.Image", image=_IMAGE),
    "image/class/label": _feature(
      "class_label_feature.ClassLabel", classLabel={"numClasses": str(classes)}
    ),
    "image/repairs": _sequence(_feature("text_feature.Text", text={})),
  }
  found |= {f"image/{key}": _feature("text_feature.Text", text={}) for key in _TEXTS}
  found |= {f"image/{key}": _tensor("int64") for key in _NUMBERS}
  found |= {f"image/{key}": _sequence(_tensor("int64")) for key in _NUMBER_LISTS}
  found |= {f"image/{key}": _sequence(_tensor("float32")) for key in _FRACTION_LISTS}
  return found


def _nest(features: dict[str, dict]) -> dict:
  """One TFDS dictionary, with a dictionary in it for each part of the keys before a slash."""
  groups: dict[str, dict[str, dict]] = {}
  direct = {}
  for key, feature in features.items():
    first, _, rest = key.partition("/")
    if rest:
      groups.setdefault(first, {})[rest] = feature
    else:
      direct[first] = feature
  nested = direct | {first: _nest(group) for first, group in groups.items()}
  return _feature("features_dict.FeaturesDict", featuresDict={"features": nested})


def _feature(name: str, **content) -> dict:
  return {"pythonClassName": f"{_FEATURES}.{name}", **content}


def _tensor(dtype: str) -> dict:
  return _feature("tensor_feature.Tensor", tensor={"dtype": dtype, "encoding": "none", "shape": {}})


def _sequence(feature: dict) -> dict:
  return _feature("sequence_feature.Sequence", sequence={"feature": feature, "length": "-1"})


def _to_json(content: dict) -> str:
  return json.dumps(content, indent=1, sort_keys=True) + "\n"
