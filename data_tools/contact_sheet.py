"""Stored images side by side, with their classes, sizes and boxes, for people to look at."""

import math
import unicodedata
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from data_tools import record_inspection
from vggtf import schema

_CELL = 256  # pixels, of the square that an image is fitted into
_GAP = 12
_CAPTION = 34
_SIZE, _SMALL = 14, 11  # of the letters
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)
_COLOURS = (
  (230, 60, 50),
  (30, 140, 230),
  (40, 160, 70),
  (220, 130, 0),
  (150, 70, 200),
  (0, 150, 150),
)


def make(records: Sequence[schema.Record], classes: Sequence[tuple[str, str]]) -> Image.Image:
  """Returns the sheet: as near to a square of images as their number allows.

  A class of which it is open whether the image shows it has a question mark, and so has the box of
  a difficult object.

  Args:
    records: at least one.
    classes: (class key, readable name) in label order.

  Raises:
    IntegrityError: an image does not decode.
  """
  columns = math.ceil(math.sqrt(len(records)))
  rows = math.ceil(len(records) / columns)
  step = _CELL + _GAP
  size = (columns * step + _GAP, rows * (step + _CAPTION) + _GAP)
  sheet = Image.new("RGB", size, _PAPER)
  for at, record in enumerate(records):
    left, top = _GAP + at % columns * step, _GAP + at // columns * (step + _CAPTION)
    picture = _draw_picture(record, classes)
    sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + _CELL - picture.height))
    _write_caption(ImageDraw.Draw(sheet), left, top + _CELL, record, classes)
  return sheet


def _draw_picture(record: schema.Record, classes: Sequence[tuple[str, str]]) -> Image.Image:
  """The image as large as the cell allows, in whole pixels where it is enlarged, and its boxes."""
  stored = Image.fromarray(record_inspection.decode_image(record))
  ratio = _CELL / max(stored.size)
  ratio = math.floor(ratio) if ratio > 1 else ratio
  size = [max(1, round(side * ratio)) for side in stored.size]
  kernel = Image.Resampling.NEAREST if ratio >= 1 else Image.Resampling.LANCZOS
  picture = stored.resize(size, kernel)
  draw = ImageDraw.Draw(picture)
  right, bottom = picture.width - 1, picture.height - 1
  for box in record.boxes:
    corners = (box.xmin * right, box.ymin * bottom, box.xmax * right, box.ymax * bottom)
    draw.rectangle(corners, outline=_choose_colour(box), width=2)
  for box in record.boxes:  # no line crosses a name
    if record.labels or record.uncertain or box.label != record.label:
      name = classes[box.label][1] + " ?" * box.difficult
      corner = (box.xmin * right, box.ymin * bottom)
      _write_tag(draw, corner, name, _choose_colour(box), picture.size)
  return picture


def _choose_colour(box: schema.Box) -> tuple[int, int, int]:
  return _COLOURS[box.label % len(_COLOURS)]


def _write_tag(draw: ImageDraw.ImageDraw, corner, text: str, colour, size):
  """A name on its box's colour, inside the picture as far as it fits."""
  font = ImageFont.load_default(_SMALL)
  text = _shorten(text, font, size[0] - 4)
  width, height = font.getlength(text) + 4, _SMALL + 3
  left = max(0, min(corner[0], size[0] - width))
  top = max(0, min(corner[1], size[1] - height))
  draw.rectangle((left, top, left + width, top + height), fill=colour)
  draw.text((left + 2, top), text, fill=_PAPER, font=font)


def _write_caption(draw: ImageDraw.ImageDraw, left: int, top: int, record: schema.Record, classes):
  names = [f"{classes[label][1]} ({label})" for label in record.classes]
  names += [f"{classes[label][1]} ({label}) ?" for label in record.uncertain]
  details = f"{record.width} x {record.height}"  # the letters have no multiplication sign
  if (record.original_width, record.original_height) != (record.width, record.height):
    details += f" from {record.original_width} x {record.original_height}"
  details += f", {record.filename}"
  for text, letters, down, ink in (
    (", ".join(names), _SIZE, 3, _INK),
    (details, _SMALL, 20, _FAINT),
  ):
    font = ImageFont.load_default(letters)
    draw.text((left, top + down), _shorten(text, font, _CELL), fill=ink, font=font)


def _shorten(text: str, font, width: float) -> str:
  text = unicodedata.normalize("NFKD", " ".join(text.split()))
  # The font has no letters with accents, and would draw the same box for each.
  text = "".join(letter for letter in text if not unicodedata.combining(letter))
  if font.getlength(text) <= width:
    return text
  while text and font.getlength(f"{text}…") > width:
    text = text[:-1]
  return f"{text}…"
