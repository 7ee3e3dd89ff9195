"""Pictures as texts that an HTML page can hold, so that it needs no other file."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from PIL import Image

_QUALITY = 85
_LEAST = 24  # pixels of a filter's side


def photo(pixels: np.ndarray, side: int) -> str:
  """Returns a data URI of a JPEG.

  Args:
    pixels: uint8 [H, W, 3], RGB.
    side: the longer one in pixels, at most; larger pictures are shrunk.
  """
  image = Image.fromarray(pixels)
  image.thumbnail((side, side), Image.Resampling.LANCZOS)
  return _uri(image, "JPEG", quality=_QUALITY)


def filters(weights: np.ndarray) -> str:
  """Returns a data URI of a PNG of the filters that see the picture's colours, side by side.

  Grey is 0. All share one scale, so that weak ones look weak.

  Args:
    weights: float [k, k, 3, n], of the channels R, G and B.
  """
  side, _, _, count = weights.shape
  columns = min(count, 2 ** math.ceil(math.log2(math.sqrt(count))))
  rows = -(-count // columns)
  largest = float(np.abs(weights).max()) or 1.0
  levels = np.round(127.5 + 127.5 * weights / largest).astype(np.uint8)
  # With an alpha channel: the page shows between the filters, dark or light.
  sheet = np.zeros((rows * (side + 1) - 1, columns * (side + 1) - 1, 4), np.uint8)
  for number in range(count):
    y, x = (side + 1) * np.array(divmod(number, columns))
    sheet[y : y + side, x : x + side, :3] = levels[..., number]
    sheet[y : y + side, x : x + side, 3] = 255
  scale = max(1, -(-_LEAST // side))
  return _uri(Image.fromarray(sheet.repeat(scale, axis=0).repeat(scale, axis=1)), "PNG")


def _uri(image: Image.Image, form: str, **options) -> str:
  file = io.BytesIO()
  image.save(file, form, **options)
  return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
