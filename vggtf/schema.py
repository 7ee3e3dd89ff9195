"""THE record contract: the keys of one stored image, how they are written and read.

The keys are those of the classic ImageNet TFRecords (TF-Slim's build_imagenet_data, Cloud TPU's
imagenet_to_gcs), so older readers understand our shards. Ours are `image/id`, a key that stays the
same whatever the shards; `image/scale`, the scale of the folder; `image/original_{height,width}`;
`image/repairs`, what was mended; and, for images of several classes, `image/class/labels`,
`image/class/uncertain` and `image/object/bbox/difficult`.

No TensorFlow here: Beam workers write with this file and must not spend 600 MB and seconds on it.
The Example message is therefore described below, in a descriptor pool of its own, so that it can
live beside TensorFlow's in one process.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from vggtf import errors

VERSION = 2  # of the keys and of the manifest; kept in the manifest

_BOX_KEYS = ("xmin", "ymin", "xmax", "ymax")


@dataclasses.dataclass(frozen=True)
class Box:
  """An object's bounding box: corners as fractions of width and height in [0, 1]; class label.

  `difficult` is VOC's flag for objects that an evaluation does not count.
  """

  xmin: float
  ymin: float
  xmax: float
  ymax: float
  label: int
  difficult: bool = False


@dataclasses.dataclass(frozen=True)
class Record:
  """One stored image, RGB JPEG, and what is known of it.

  `label` is 0..N-1 in the sorted order of the class keys (WNIDs for ImageNet); `synset` is that key
  and `text` its readable name. `scale` is what the smallest side was brought to, in pixels, 0 for
  the original size. `labels` are all classes of the image, ascending, `uncertain` those of which it
  is open whether it shows them (VOC: difficult objects only); `label` is the first of the two.
  """

  id: str
  encoded: bytes
  height: int
  width: int
  label: int
  synset: str
  text: str
  filename: str
  scale: int
  original_height: int
  original_width: int
  boxes: tuple[Box, ...] = ()
  labels: tuple[int, ...] = ()
  uncertain: tuple[int, ...] = ()
  repairs: tuple[str, ...] = ()

  @property
  def classes(self) -> tuple[int, ...]:
    """The classes that the image surely shows."""
    return self.labels or (() if self.uncertain else (self.label,))


def stored_size(height: int, width: int, scale: int, upscale: bool = True) -> tuple[int, int]:
  """Returns (height, width) at which an image of the given size is stored.

  The smallest side becomes `scale`; 0 keeps the size, and so does a smaller image unless `upscale`.
  """
  shortest = min(height, width)
  if not scale or (shortest < scale and not upscale):
    return height, width
  return scaled_side(height, shortest, scale), scaled_side(width, shortest, scale)


# How pictures are resized, as manifests say it; TensorFlow's antialiased cubic is the same kernel.
RESIZE = "Pillow bicubic, antialiased; other side rounded half up"


def scaled_side(side, shortest, scale):
  """Length of `side` after an isotropic rescale of `shortest` to `scale` (paper, section 3.1).

  Rounded half up, in integers, so the shortest side becomes exactly `scale` and converter and
  graph agree to the pixel. Works on ints and on integer tensors alike.
  """
  return (2 * side * scale + shortest) // (2 * shortest)


def encode(record: Record) -> bytes:
  """Returns `record` as a serialized tf.train.Example; equal records give equal bytes."""
  bytes_, floats, ints = {}, {}, {}
  bytes_["image/encoded"] = [record.encoded]
  for key, text in (
    ("image/format", "JPEG"),
    ("image/colorspace", "RGB"),
    ("image/class/synset", record.synset),
    ("image/class/text", record.text),
    ("image/filename", record.filename),
    ("image/id", record.id),
  ):
    bytes_[key] = [text.encode()]
  bytes_["image/repairs"] = [kind.encode() for kind in record.repairs]
  for key, number in (
    ("image/height", record.height),
    ("image/width", record.width),
    ("image/channels", 3),
    ("image/class/label", record.label),
    ("image/scale", record.scale),
    ("image/original_height", record.original_height),
    ("image/original_width", record.original_width),
  ):
    ints[key] = [number]
  for side in _BOX_KEYS:
    floats[f"image/object/bbox/{side}"] = [getattr(box, side) for box in record.boxes]
  ints["image/object/bbox/label"] = [box.label for box in record.boxes]
  ints["image/object/bbox/difficult"] = [int(box.difficult) for box in record.boxes]
  ints["image/class/labels"] = record.labels
  ints["image/class/uncertain"] = record.uncertain

  example = _Example()
  for kind, values_of in (("bytes_list", bytes_), ("float_list", floats), ("int64_list", ints)):
    for key, values in values_of.items():
      values_list = getattr(example.features.feature[key], kind)
      values_list.SetInParent()  # an image without boxes has the keys, with no values
      values_list.value.extend(values)
  return example.SerializeToString(deterministic=True)


class Picture(NamedTuple):
  """What training needs of a record."""

  id: str
  encoded: bytes
  height: int
  width: int
  label: int


def decode_picture(serialized: bytes, where: str) -> Picture:
  """Returns a part of the record that `encode` wrote, in a third of the time of `decode`.

  Args and errors are those of `decode`.
  """
  found = _Features(serialized, where)
  return Picture(
    found.text("image/id"),
    found.one("image/encoded", "bytes_list"),
    found.one("image/height", "int64_list"),
    found.one("image/width", "int64_list"),
    found.one("image/class/label", "int64_list"),
  )


def decode(serialized: bytes, where: str) -> Record:
  """Returns the record that `encode` wrote.

  Args:
    serialized: one tf.train.Example.
    where: the file and record, for messages.

  Raises:
    IntegrityError: not an Example, or a key is missing or holds something else; the message names
      the file, the key and the cure.
  """
  found = _Features(serialized, where)
  values, one, text = found.values, found.one, found.text
  corners = [values(f"image/object/bbox/{side}", "float_list") for side in _BOX_KEYS]
  labels = values("image/object/bbox/label", "int64_list")
  difficult = [bool(flag) for flag in values("image/object/bbox/difficult", "int64_list")]
  columns = (*corners, labels, difficult)
  if len({len(column) for column in columns}) > 1:
    raise errors.IntegrityError(
      f"{where}: the keys image/object/bbox/* have {[*map(len, columns)]} values, "
      "expected one of each per box; convert the data again with data_tools.convert"
    )
  return Record(
    id=text("image/id"),
    encoded=one("image/encoded", "bytes_list"),
    height=one("image/height", "int64_list"),
    width=one("image/width", "int64_list"),
    label=one("image/class/label", "int64_list"),
    synset=text("image/class/synset"),
    text=text("image/class/text"),
    filename=text("image/filename"),
    scale=one("image/scale", "int64_list"),
    original_height=one("image/original_height", "int64_list"),
    original_width=one("image/original_width", "int64_list"),
    boxes=tuple(Box(*box) for box in zip(*columns, strict=True)),
    labels=tuple(values("image/class/labels", "int64_list")),
    uncertain=tuple(values("image/class/uncertain", "int64_list")),
    repairs=tuple(kind.decode(errors="replace") for kind in values("image/repairs", "bytes_list")),
  )


class _Features:
  """The values of an Example by key, whose absence is an IntegrityError."""

  def __init__(self, serialized: bytes, where: str):
    example = _Example()
    try:
      example.ParseFromString(serialized)
    except DecodeError:
      raise errors.IntegrityError(
        f"{where}: not a tf.train.Example; convert the data again with data_tools.convert"
      ) from None
    self._features, self._where = example.features.feature, where

  def values(self, key: str, kind: str) -> Sequence:
    found = self._features.get(key)
    if found is None or not found.HasField(kind):
      there = (found is not None and found.WhichOneof("kind")) or "nothing"
      raise errors.IntegrityError(
        f"{self._where}: record has {there} under the key {key!r}, expected {kind}; convert the "
        f"data again with this version's data_tools.convert (schema {VERSION})"
      )
    return getattr(found, kind).value

  def one(self, key: str, kind: str):
    found = self._features.get(key)
    values = getattr(found, kind).value if found is not None else ()
    if len(values) == 1:
      return values[0]
    count = len(self.values(key, kind))
    raise errors.IntegrityError(
      f"{self._where}: record has {count} values under the key {key!r}, expected 1; convert the "
      "data again with data_tools.convert"
    )

  def text(self, key: str) -> str:
    return self.one(key, "bytes_list").decode(errors="replace")


def _example_class():
  """tensorflow/core/example/{example,feature}.proto, field for field."""
  kinds = descriptor_pb2.FieldDescriptorProto
  proto = descriptor_pb2.FileDescriptorProto(
    name="vggtf/example.proto", package="tensorflow", syntax="proto3"
  )

  def field(message, name, number, label=kinds.LABEL_OPTIONAL, of=None, kind=kinds.TYPE_MESSAGE):
    type_name = f".tensorflow.{of}" if of else None
    return message.field.add(name=name, number=number, label=label, type=kind, type_name=type_name)

  for name, kind in (
    ("BytesList", kinds.TYPE_BYTES),
    ("FloatList", kinds.TYPE_FLOAT),
    ("Int64List", kinds.TYPE_INT64),
  ):
    field(proto.message_type.add(name=name), "value", 1, kinds.LABEL_REPEATED, kind=kind)
  feature = proto.message_type.add(name="Feature")
  feature.oneof_decl.add(name="kind")
  for number, name in enumerate(("bytes_list", "float_list", "int64_list"), 1):
    of = "".join(part.capitalize() for part in name.split("_"))
    field(feature, name, number, of=of).oneof_index = 0
  features = proto.message_type.add(name="Features")
  entry = features.nested_type.add(name="FeatureEntry")
  entry.options.map_entry = True
  field(entry, "key", 1, kind=kinds.TYPE_STRING)
  field(entry, "value", 2, of="Feature")
  field(features, "feature", 1, kinds.LABEL_REPEATED, of="Features.FeatureEntry")
  field(proto.message_type.add(name="Example"), "features", 1, of="Features")

  pool = descriptor_pool.DescriptorPool()
  pool.Add(proto)
  return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


_Example = _example_class()
