"""One of ImageNet's XML files to the boxes of one image."""

from collections.abc import Mapping, Sequence

from data_tools.listing import annotation
from vggtf import schema


def read(
  data: bytes, label: int | None, names: Mapping[str, Sequence[int]], clip: bool
) -> tuple[tuple[schema.Box, ...], tuple[str, str] | None]:
  """Returns the boxes and None, or no boxes and why: (reason, detail).

  Args:
    data: the XML.
    label: the image's class, if it is known.
    names: `name_classes`.
    clip: cut boxes at the edges of the image.
  """

  def label_of(name: str) -> int | None:
    owners = names.get(name, ())
    return label if label in owners else next(iter(owners), None)

  try:
    if label is None:
      raise annotation.Unusable("box_unknown_class", "its image is of no known class")
    boxes = annotation.to_boxes(annotation.parse(data), label_of, clip)
    if other := {box.label for box in boxes} - {label}:
      keys = sorted(name for name, owners in names.items() if other & set(owners))
      raise annotation.Unusable("box_of_another_class", f"of {', '.join(keys[:5])}")
  except annotation.Unusable as unusable:
    return (), (unusable.reason, unusable.detail)
  return boxes, None


def name_classes(classes: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
  """Returns the labels of each WNID and of each word of the texts, spelt as in Scottish_deerhound.

  Classes may share a word (crane is a bird and a machine), but no WNID.
  """
  names: dict[str, list[int]] = {}
  for label, (key, text) in enumerate(classes):
    for word in {key, text, *text.split(", ")}:
      names.setdefault(word.replace(" ", "_"), []).append(label)
  return names
