"""What belongs in one shard, in its order."""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from data_tools import sharding
from data_tools.source import Annotation, Item
from vggtf import errors


class Members:
  """What belongs in one shard: its items in their order, and the annotations of each."""

  def __init__(self, members: Iterable[Item | Annotation | None]):
    """Sorts them; None, which stands for the shard itself in its group, is none of them.

    Raises:
      RejectedInputError: two items, or two annotations, have one id.
    """
    members = list(members)
    items = [member for member in members if isinstance(member, Item)]
    self.items = sorted(items, key=lambda item: sharding.order(item.id))
    annotations = [member for member in members if isinstance(member, Annotation)]
    self.annotations = {annotation.id: annotation for annotation in annotations}
    _refuse_doubles(items, "image")
    _refuse_doubles(annotations, "annotation")

  def digest(self) -> int:
    """Returns the sum of a hash of each: of all that listing knows of it, but where it lies."""
    known = [dataclasses.replace(item, locator=()) for item in self.items]
    texts = (repr(member).encode() for member in (*known, *self.annotations.values()))
    return sum(int.from_bytes(hashlib.sha256(text).digest(), "big") for text in texts)


def _refuse_doubles(members: Sequence[Item | Annotation], what: str):
  seen: dict[str, str] = {}
  for member in members:
    if member.id in seen:
      first, second = sorted((seen[member.id], member.origin))
      raise errors.RejectedInputError(
        f"the {what} id {member.id!r} is used twice, by {first} and {second}; expected unique ids: "
        "rename or remove one of them"
      )
    seen[member.id] = member.origin
