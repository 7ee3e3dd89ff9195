"""Object boxes from XML files as PASCAL VOC and ImageNet write them.

VOC counts pixels from 1 and includes the last one; ImageNet's files hold 0 as well as the width.
Like TFDS and TF-Slim, both are read as edges: a fraction is the number in the file divided by the
size in the file. So ImageNet's boxes are exact, boxes in our shards equal those in TFDS's, and
VOC's left and upper edges lie one pixel inside the object; its own numbers are fraction * size.
"""

import dataclasses
import math
from collections.abc import Callable
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException, ElementTree

from vggtf import schema

_ROOT = "annotation"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class Unusable(Exception):
  """A file of boxes that cannot be used: `reason` is a word to count by, `detail` for people."""

  def __init__(self, reason: str, detail: str):
    super().__init__(f"{reason}: {detail}")
    self.reason = reason
    self.detail = detail


@dataclasses.dataclass(frozen=True)
class Object:
  """A named box in pixels of the size that its file states, and VOC's flag `difficult`."""

  name: str
  xmin: float
  ymin: float
  xmax: float
  ymax: float
  difficult: bool = False


@dataclasses.dataclass(frozen=True)
class Parsed:
  """A file of boxes: the image's width and height in pixels as it states them, its objects."""

  width: int
  height: int
  objects: tuple[Object, ...]


def parse(data: bytes) -> Parsed:
  """Returns what an XML file says; boxes may still lie outside the image.

  Parts of an object (VOC's heads and hands) are not objects.

  Raises:
    Unusable: box_malformed_xml (a missing or unreadable coordinate, too), box_dtd, box_wrong_root,
      box_no_object, box_no_size, box_inverted or box_empty.
  """
  root = _read(data)
  if root.tag != _ROOT:
    raise Unusable("box_wrong_root", f"<{root.tag[:80]}>, expected <{_ROOT}>")
  width, height = (_read_size(root, side) for side in ("width", "height"))
  objects = tuple(_read_object(found, at) for at, found in enumerate(root.findall("object"), 1))
  if not objects:
    raise Unusable("box_no_object", f"no <object> in <{_ROOT}>")
  return Parsed(width, height, objects)


def to_boxes(
  parsed: Parsed, label_of: Callable[[str], int | None], clip: bool
) -> tuple[schema.Box, ...]:
  """Returns the boxes as fractions in [0, 1], in the order of the file.

  Args:
    parsed: what the file says.
    label_of: a class's name to its label, None for a class that there is not.
    clip: cut a box that is partly outside the image at its edges, instead of refusing it.

  Raises:
    Unusable: box_outside or box_unknown_class.
  """
  return tuple(_to_box(parsed, one, label_of, clip) for one in parsed.objects)


def _to_box(parsed: Parsed, one: Object, label_of, clip: bool) -> schema.Box:
  label = label_of(one.name)
  if label is None:
    raise Unusable("box_unknown_class", repr(one.name))
  width, height = parsed.width, parsed.height
  corners = (one.xmin, one.ymin, one.xmax, one.ymax)
  xmin, ymin, xmax, ymax = (
    min(max(corner, 0), limit)
    for corner, limit in zip(corners, (width, height, width, height), strict=True)
  )
  outside = xmin >= xmax or ymin >= ymax
  if outside or (not clip and (xmin, ymin, xmax, ymax) != corners):
    raise Unusable("box_outside", f"{one.name!r} at {corners} of {width}x{height} pixels")
  return schema.Box(xmin / width, ymin / height, xmax / width, ymax / height, label, one.difficult)


def _read(data: bytes) -> Element:
  try:
    return ElementTree.fromstring(data, forbid_dtd=True)
  except DefusedXmlException as error:
    raise Unusable("box_dtd", str(error)) from None
  except (ElementTree.ParseError, LookupError, ValueError) as error:  # or its encoding is unknown
    raise Unusable("box_malformed_xml", str(error)) from None


def _read_size(root: Element, side: str) -> int:
  text = root.findtext(f"size/{side}", "").strip()
  if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
    raise Unusable("box_no_size", f"{side} is {text[:80]!r}, expected pixels above 0")
  return int(text)


def _read_object(found: Element, at: int) -> Object:
  name = found.findtext("name", "").strip()
  if not name:
    raise Unusable("box_malformed_xml", f"object {at} has no <name>")
  where = f"object {at} ({name[:80]!r})"
  corners = [_read_side(found, side, where) for side in _SIDES]
  xmin, ymin, xmax, ymax = corners
  if xmin > xmax or ymin > ymax:
    raise Unusable("box_inverted", f"{where} at {corners}")
  if xmin == xmax or ymin == ymax:
    raise Unusable("box_empty", f"{where} at {corners}")
  return Object(name, *corners, difficult=found.findtext("difficult", "").strip() == "1")


def _read_side(found: Element, side: str, where: str) -> float:
  text = found.findtext(f"bndbox/{side}", "")
  try:
    number = float(text)
  except ValueError:
    number = math.nan
  if not math.isfinite(number):
    raise Unusable("box_malformed_xml", f"{where}: {side} is {text[:80]!r}, expected a number")
  return number
