import fractions

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_tools.listing import annotation
from vggtf import schema

DOG = "<object><name>dog</name><bndbox>{}</bndbox></object>"
LABELS = {"cat": 3, "dog": 7}
# VOC2007/Annotations/000001.xml, with a head for a part as VOC2012's people have.
VOC = b"""<annotation>
	<folder>VOC2007</folder>
	<filename>000001.jpg</filename>
	<source><database>The VOC2007 Database</database><flickrid>341012865</flickrid></source>
	<owner><flickrid>Fried Camels</flickrid><name>Jinky the Fruit Bat</name></owner>
	<size><width>353</width><height>500</height><depth>3</depth></size>
	<segmented>0</segmented>
	<object>
		<name>dog</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
		<bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox>
	</object>
	<object>
		<name>person</name><pose>Left</pose><truncated>1</truncated><difficult>1</difficult>
		<part><name>head</name>
			<bndbox><xmin>9</xmin><ymin>13</ymin><xmax>90</xmax><ymax>80</ymax></bndbox></part>
		<bndbox><xmax>352.5</xmax><xmin>8</xmin><ymax>498</ymax><ymin>12</ymin></bndbox>
	</object>
</annotation>
"""


def corners(xmin, ymin, xmax, ymax) -> str:
  return f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"


def write(*objects: str, width=100, height=50) -> bytes:
  size = f"<size><width>{width}</width><height>{height}</height></size>"
  return f"<annotation>{size}{''.join(objects)}</annotation>".encode()


def reason_of(function, *arguments) -> str:
  with pytest.raises(annotation.Unusable) as caught:
    function(*arguments)
  assert caught.value.detail
  return caught.value.reason


def test_reads_a_voc_file():
  parsed = annotation.parse(VOC)
  assert parsed == annotation.Parsed(
    353,
    500,
    (
      annotation.Object("dog", 48, 240, 195, 371, False),
      annotation.Object("person", 8, 12, 352.5, 498, True),
    ),
  )
  boxes = annotation.to_boxes(parsed, {"dog": 11, "person": 14}.get, clip=False)
  assert boxes == (
    schema.Box(48 / 353, 240 / 500, 195 / 353, 371 / 500, 11, False),
    schema.Box(8 / 353, 12 / 500, 352.5 / 353, 498 / 500, 14, True),
  )


def test_reads_a_byte_order_mark_and_latin_1():
  dog = DOG.format(corners(0, 0, 100, 50))
  expected = (annotation.Object("dog", 0, 0, 100, 50),)
  assert annotation.parse(b"\xef\xbb\xbf" + write(dog)).objects == expected
  header = b'<?xml version="1.0" encoding="ISO-8859-1"?>'
  latin = write("<owner>Jos\u00e9</owner>", dog).decode().encode("latin-1")
  assert annotation.parse(header + latin).objects == expected


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"", "box_malformed_xml"),
    (VOC[:-30], "box_malformed_xml"),
    (VOC + b"<more/>", "box_malformed_xml"),
    (VOC.replace(b"Fried", b"\xff\xfe"), "box_malformed_xml"),
    (b'<?xml version="1.0" encoding="klingon"?>' + VOC, "box_malformed_xml"),
    (VOC.replace(b"Fried", b"&fried;"), "box_malformed_xml"),
    (b"\xff\xd8\xff\xe0 a picture", "box_malformed_xml"),
    (write("<object><name>dog</name></object>"), "box_malformed_xml"),
    (write(DOG.format(corners("", 1, 2, 3))), "box_malformed_xml"),
    (write(DOG.format(corners("nan", 1, 2, 3))), "box_malformed_xml"),
    (write(DOG.format(corners(1, 1, "inf", 3))), "box_malformed_xml"),
    (write(f"<object><bndbox>{corners(1, 2, 3, 4)}</bndbox></object>"), "box_malformed_xml"),
    (b"<!DOCTYPE annotation>" + VOC, "box_dtd"),
    (VOC.replace(b"annotation>", b"html>"), "box_wrong_root"),
    (write(), "box_no_object"),
    (write("<part>", DOG.format(corners(1, 1, 2, 2)), "</part>"), "box_no_object"),
    (VOC.replace(b"size>", b"scale>"), "box_no_size"),
    (write(DOG.format(corners(1, 1, 2, 2)), width=0), "box_no_size"),
    (write(DOG.format(corners(1, 1, 2, 2)), height="tall"), "box_no_size"),
    (write(DOG.format(corners(1, 1, 2, 2)), height=-50), "box_no_size"),
    (write(DOG.format(corners(1, 1, 2, 2)), width="9" * 5000), "box_no_size"),
    (write(DOG.format(corners(9, 1, 5, 2))), "box_inverted"),
    (write(DOG.format(corners(1, 9, 2, 5))), "box_inverted"),
    (write(DOG.format(corners(5, 1, 5, 2))), "box_empty"),
    (write(DOG.format(corners(1, 5, 2, 5))), "box_empty"),
  ],
)
def test_an_unusable_file(data, reason):
  assert reason_of(annotation.parse, data) == reason


def test_a_billion_laughs():
  lines = ['<!ENTITY e0 "ha">']
  lines += [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 11)]
  data = f"<!DOCTYPE annotation [{''.join(lines)}]><annotation>&e10;</annotation>".encode()
  assert reason_of(annotation.parse, data) == "box_dtd"


def test_an_external_entity_is_not_read(tmp_path):
  secret = tmp_path / "secret"
  secret.write_text("dog")
  doctype = f'<!DOCTYPE annotation [<!ENTITY name SYSTEM "{secret.as_uri()}">]>'
  data = doctype.encode() + VOC.replace(b">dog<", b">&name;<")
  assert reason_of(annotation.parse, data) == "box_dtd"


def test_deep_nesting():
  deep = "<a>" * 200_000 + "</a>" * 200_000
  assert len(annotation.parse(write(deep, DOG.format(corners(1, 1, 2, 2)))).objects) == 1
  assert reason_of(annotation.parse, b"<annotation>" * 200_000) == "box_malformed_xml"


@pytest.mark.parametrize(
  ("given_corners", "clipped"),
  [
    ((-1, 0, 50, 50), (0, 0, 0.5, 1)),
    ((0, -0.5, 50, 25), (0, 0, 0.5, 0.5)),
    ((25, 10, 101, 50), (0.25, 0.2, 1, 1)),
    ((0, 10, 100, 60), (0, 0.2, 1, 1)),
    ((100, 0, 120, 50), None),
    ((-9, 0, 0, 50), None),
    ((0, 50, 10, 51), None),
  ],
)
def test_a_box_outside(given_corners, clipped):
  parsed = annotation.parse(write(DOG.format(corners(*given_corners))))
  assert reason_of(annotation.to_boxes, parsed, LABELS.get, False) == "box_outside"
  if clipped is None:
    assert reason_of(annotation.to_boxes, parsed, LABELS.get, True) == "box_outside"
  else:
    assert annotation.to_boxes(parsed, LABELS.get, True) == (schema.Box(*clipped, 7),)


def test_an_unknown_class():
  parsed = annotation.parse(VOC)
  assert reason_of(annotation.to_boxes, parsed, LABELS.get, True) == "box_unknown_class"


@given(
  size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
  objects=st.lists(
    st.tuples(st.sampled_from(["cat", "dog"]), *[st.integers(-9, 5010)] * 4, st.booleans()),
    min_size=1,
    max_size=4,
  ),
  clip=st.booleans(),
)
def test_boxes_are_what_a_hand_computes(size, objects, clip):
  width, height = size
  texts, expected, bad = [], [], False
  for name, xmin, ymin, xmax, ymax, difficult in objects:
    texts.append(
      f"<object><name>{name}</name><difficult>{int(difficult)}</difficult>"
      f"<bndbox>{corners(xmin, ymin, xmax, ymax)}</bndbox></object>"
    )
    inside = 0 <= xmin < xmax <= width and 0 <= ymin < ymax <= height
    left, upper = max(xmin, 0), max(ymin, 0)
    right, lower = min(xmax, width), min(ymax, height)
    bad |= not inside and not (clip and left < right and upper < lower)
    edges = ((left, width), (upper, height), (right, width), (lower, height))
    expected.append(
      (*(float(fractions.Fraction(*edge)) for edge in edges), LABELS[name], difficult)
    )
  data = write(*texts, width=width, height=height)
  if bad:
    reason = reason_of(lambda: annotation.to_boxes(annotation.parse(data), LABELS.get, clip))
    assert reason in ("box_outside", "box_inverted", "box_empty")
  else:
    boxes = annotation.to_boxes(annotation.parse(data), LABELS.get, clip)
    assert boxes == tuple(schema.Box(*box) for box in expected)
