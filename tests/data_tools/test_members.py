"""What belongs in a shard: in its order, once, and known by a sum."""

import dataclasses

import pytest

from data_tools import sharding
from data_tools.members import Members
from data_tools.source import Annotation, Item
from vggtf import errors, schema


def item(id_, label=0):
  return Item(id_, "train", label, f"from {id_}", ())


def test_order_is_the_hash_s():
  items = [item(str(at)) for at in range(20)]
  expected = sorted((i.id for i in items), key=sharding.order)
  assert [i.id for i in Members(items).items] == expected
  assert [i.id for i in Members(items[::-1]).items] == expected


@pytest.mark.parametrize("member", [item("a"), Annotation("a", "train", "from a")])
def test_second_use_of_an_id_is_refused(member):
  with pytest.raises(errors.RejectedInputError, match="'a' is used twice, by elsewhere and from a"):
    Members([member, dataclasses.replace(member, origin="elsewhere")])


def test_members_digest_sees_every_change_but_of_place():
  base = [item("a"), item("b"), Annotation("a", "train", "a.xml")]
  same = Members(base[::-1]).digest()
  assert Members(base).digest() == same
  assert Members([dataclasses.replace(item("a"), locator=("here",)), *base[1:]]).digest() == same
  assert Members(base[:1]).digest() + Members(base[1:]).digest() == same
  changes = [
    [*base, item("c")],
    base[1:],
    base[:2],
    [item("a", 1), *base[1:]],
    [dataclasses.replace(item("a"), origin="elsewhere"), *base[1:]],
    [dataclasses.replace(item("a"), labels=(0, 1)), *base[1:]],
    [dataclasses.replace(item("a"), refused=("no_class", "why")), *base[1:]],
    [*base[:2], Annotation("a", "train", "a.xml", (schema.Box(0, 0, 1, 1, 0),))],
    [*base[:2], Annotation("b", "train", "a.xml")],
  ]
  assert same not in {Members(changed).digest() for changed in changes}
