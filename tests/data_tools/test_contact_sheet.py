"""What is drawn is where it should be, in its own pixels."""

import dataclasses

import numpy as np
import pytest

from data_tools import contact_sheet, pixels
from vggtf import errors, schema

CLASSES = [("n01", "crane"), ("n02", "heron"), ("n03", "tench")]
CELL, GAP, STEP_DOWN = 256, 12, 302  # of the first cell: its left, top and what follows below


def make_record(rgb, **changes) -> schema.Record:
  height, width = rgb.shape[:2]
  record = schema.Record(
    id="train/a.JPEG",
    encoded=pixels.encode(rgb, 100),
    height=height,
    width=width,
    label=1,
    synset="n02",
    text="heron",
    filename="a.JPEG",
    scale=0,
    original_height=height,
    original_width=width,
  )
  return dataclasses.replace(record, **changes)


def grey(height: int, width: int, level: int = 100) -> np.ndarray:
  return np.full((height, width, 3), level, np.uint8)


def draw(*records) -> np.ndarray:
  return np.asarray(contact_sheet.make(records, CLASSES)).astype(int)


@pytest.mark.parametrize(
  ("number", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (5, 3, 2), (16, 4, 4)]
)
def test_sheet_is_as_square_as_the_number_allows(number, columns, rows):
  sheet = draw(*[make_record(grey(64, 64))] * number)
  assert sheet.shape == (rows * STEP_DOWN + GAP, columns * (CELL + GAP) + GAP, 3)
  centres = [
    sheet[GAP + CELL // 2 + row * STEP_DOWN, GAP + CELL // 2 + column * (CELL + GAP), 0]
    for row in range(rows)
    for column in range(columns)
  ]
  assert [abs(level - 100) < 3 for level in centres] == [at < number for at in range(len(centres))]


@pytest.mark.parametrize(
  ("size", "shown"),
  [
    ((256, 256), (256, 256)),
    ((512, 256), (256, 128)),
    ((100, 375), (68, 256)),
    ((28, 28), (252, 252)),  # 9 times: no pixel is wider than another
    ((150, 130), (150, 130)),
    ((1, 2000), (1, 256)),
  ],
)
def test_image_fits_its_cell_at_its_own_shape(size, shown):
  sheet = draw(make_record(grey(*size)))
  there = np.abs(sheet[: GAP + CELL] - 100).max(-1) < 5
  assert (there.any(1).sum(), there.any(0).sum()) == shown


def test_small_image_is_enlarged_pixel_by_pixel():
  rgb = np.zeros((8, 8, 3), np.uint8)
  rgb[::2, 1::2] = rgb[1::2, ::2] = 255
  sheet = draw(make_record(rgb))[GAP : GAP + 256, GAP : GAP + 256]
  blocks = sheet.reshape(8, 32, 8, 32, 3)
  assert np.ptp(blocks, axis=(1, 3)).max() == 0
  assert np.abs(blocks[:, 0, :, 0] - pixels.decode_stored(pixels.encode(rgb, 100))).max() == 0


def coloured(sheet) -> np.ndarray:
  """Where the picture, which is grey, is not: rows and columns within the first cell."""
  return np.argwhere(np.ptp(sheet[GAP : GAP + CELL, GAP : GAP + CELL], axis=-1) > 40)


def test_box_is_drawn_at_its_fractions():
  box = schema.Box(0.25, 0.5, 0.75, 1.0, 1)
  found = coloured(draw(make_record(grey(256, 256), boxes=(box,))))
  assert found.min(0).tolist() == [pytest.approx(127.5, abs=1), pytest.approx(63.75, abs=1)]
  assert found.max(0).tolist() == [pytest.approx(255, abs=1), pytest.approx(191.25, abs=1)]
  inside = (found > [131, 67]).all(1) & (found < [251, 187]).all(1)
  assert not inside.any()  # one class alone needs no name


@pytest.mark.parametrize("change", [{"label": 0}, {"labels": (0, 1)}, {"uncertain": (1,)}])
def test_box_of_one_class_among_several_has_its_name(change):
  box = schema.Box(0.25, 0.5, 0.75, 1.0, 1)
  found = coloured(draw(make_record(grey(256, 256), boxes=(box,), **change)))
  inside = (found > [131, 67]).all(1) & (found < [251, 187]).all(1)
  assert inside.any()


def test_classes_have_colours_of_their_own():
  boxes = [schema.Box(0.25, 0.25, 0.75, 0.75, label) for label in range(3)]
  seen = set()
  for box in boxes:
    sheet = draw(make_record(grey(256, 256), boxes=(box,), label=box.label))
    seen.add(tuple(sheet[GAP + 64, GAP + 100]))
  assert len(seen) == 3


@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.97, 0.97)])
def test_name_of_a_box_stays_inside_its_image(corner):
  record = make_record(grey(256, 256), labels=(0, 1))
  plain = draw(record)
  boxed = draw(dataclasses.replace(record, boxes=(schema.Box(*corner, 1.0, 1.0, 1),)))
  changed = np.argwhere((plain != boxed).any(-1)) - GAP
  assert len(changed)
  assert changed.min() >= 0
  assert changed.max() < CELL


def caption(record) -> bytes:
  return draw(record)[GAP + CELL :].tobytes()


def test_caption_tells_classes_sizes_and_name():
  plain = make_record(grey(256, 256))
  changes = [
    {},
    {"label": 2},
    {"labels": (1, 2)},
    {"uncertain": (1,)},
    {"labels": (1,), "uncertain": (2,)},
    {"original_width": 300},
    {"filename": "b.JPEG"},
  ]
  assert len({caption(dataclasses.replace(plain, **change)) for change in changes}) == len(changes)
  assert caption(dataclasses.replace(plain, labels=(1,))) == caption(plain)


@pytest.mark.parametrize("name", ["Bär.JPEG", "Ba\N{COMBINING DIAERESIS}r.JPEG"])
def test_letters_with_accents_are_no_boxes(name):
  plain = make_record(grey(256, 256), filename="Bar.JPEG")
  assert caption(dataclasses.replace(plain, filename=name)) == caption(plain)


def test_caption_of_any_length_stays_below_its_image():
  long = [("n01", "a very long name of a class, " * 9)] * 3
  record = make_record(grey(256, 256), filename="x" * 500, labels=(0, 1))
  sheet = np.asarray(contact_sheet.make([record] * 2, long))
  gap = sheet[:, GAP + CELL : GAP + CELL + GAP]
  assert (gap == 255).all()


def test_image_that_does_not_decode_is_named():
  record = make_record(grey(32, 32), encoded=b"\xff\xd8\xff")
  with pytest.raises(errors.IntegrityError, match=r"'train/a.JPEG' does not decode .*convert"):
    contact_sheet.make([record], CLASSES)
