"""Encoded bytes to RGB pixels, to other sizes, and back to JPEG: by content, never by file name.

One fixed rule for each oddity, wherever TensorFlow's own decoders have one the same, so that a
served model meets the pixels that a trained one met:

    EXIF orientation   ignored, as ImageNet's readers do
    alpha, transparent colours   dropped, not composited
    16 bits a channel  the high byte
    grey, palette      expanded to RGB
    CMYK, YCCK         Pillow's conversion (Adobe's inverted inks understood)
    more than 1 frame  refused: none of them is "the" image
"""

import dataclasses
import functools
import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from data_tools.options import MAX_SIDE
from vggtf import schema

SUBSAMPLING = "444"  # chroma was halved once by the camera; halving it again at 256 px shows
_JPEG_START = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_OTHER_FORMATS = ("PNG", "GIF", "WEBP", "BMP")
_DIRECT_MODES = ("RGB", "RGBA", "RGBX", "RGBa", "L", "LA", "La", "1", "P", "PA", "CMYK")


class Refused(Exception):
  """An image that cannot be converted: `reason` is a word to count by, `detail` is for people."""

  def __init__(self, reason: str, detail: str):
    super().__init__(f"{reason}: {detail}")
    self.reason = reason
    self.detail = detail


@dataclasses.dataclass(frozen=True)
class Picture:
  """A decoded image: uint8 [height, width, 3], RGB, and (kind, detail) of what was mended."""

  rgb: np.ndarray
  repairs: tuple[tuple[str, str], ...] = ()


def describe() -> dict[str, str]:
  """Returns the fixed rules of this module, for the manifest."""
  return {
    "alpha": "dropped",
    "exif_orientation": "ignored",
    "resize": schema.RESIZE,
    "sixteen_bit": "high byte",
    "subsampling": ":".join(SUBSAMPLING),
  }


def decode(data: bytes, max_pixels: int, largest_scale: int, upscale: bool = True) -> Picture:
  """Decodes an image once, after its header has shown that it is not too large.

  Args:
    data: the encoded image: JPEG, PNG, GIF, WebP or BMP.
    max_pixels: more than this, as it is or at `largest_scale`, is refused.
    largest_scale: the largest smallest-side that it will be rescaled to.
    upscale: whether it is enlarged where it is smaller than that.

  Returns:
    The picture.

  Raises:
    Refused: empty, not_an_image, too_large, too_narrow, truncated, damaged, animated or
      unsupported_mode.
  """
  if not data:
    raise Refused("empty", "0 bytes")
  try:
    check = functools.partial(_check_size, max_pixels, largest_scale, upscale)
    if data.startswith(_JPEG_START):
      return _decode_jpeg(data, check)
    return _decode_other(data, check)
  except Image.DecompressionBombError as error:
    raise Refused("too_large", str(error)) from None
  except (Refused, MemoryError):
    raise
  except Exception as error:  # a decoder may raise anything on hostile bytes
    _check_memory(error)
    raise Refused(*_diagnose(data, error)) from None


def rescale(rgb: np.ndarray, scale: int, upscale: bool = True) -> np.ndarray:
  """Returns uint8 [h, w, 3] at the size that `schema.stored_size` says: bicubic, antialiased.

  Isotropic (paper, section 3.1): the smallest side becomes exactly `scale`. An image that keeps its
  size is returned unchanged.
  """
  (rescaled,) = rescale_all(rgb, (scale,), upscale)
  return rescaled


def rescale_all(rgb: np.ndarray, scales: Sequence[int], upscale: bool) -> Iterator[np.ndarray]:
  """Yields what `rescale` returns for each scale, from one copy of the pixels in Pillow's form."""
  image = Image.fromarray(rgb)
  for scale in scales:
    height, width = schema.stored_size(*rgb.shape[:2], scale, upscale)
    if rgb.shape[:2] == (height, width):
      yield rgb
    else:
      yield np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def encode(rgb: np.ndarray, quality: int) -> bytes:
  """Returns uint8 [h, w, 3] as a baseline JPEG, 4:4:4, with the accurate integer DCT."""
  return simplejpeg.encode_jpeg(
    np.ascontiguousarray(rgb), quality, colorspace="RGB", colorsubsampling=SUBSAMPLING
  )


def decode_stored(encoded: bytes) -> np.ndarray:
  """Returns the pixels of a JPEG that `encode` wrote, uint8 [h, w, 3].

  Raises:
    ValueError: it is damaged.
  """
  return simplejpeg.decode_jpeg(encoded, colorspace="RGB", strict=True)


def _check_size(max_pixels: int, scale: int, upscale: bool, height: int, width: int):
  if height * width > max_pixels:
    raise Refused("too_large", f"{height}x{width} is more than {max_pixels} pixels")
  if not min(height, width):
    raise Refused("damaged", f"header says {height}x{width}")
  if max(height, width) > MAX_SIDE:
    raise Refused("too_large", f"{height}x{width} has a side of more than {MAX_SIDE} pixels")
  size = schema.stored_size(height, width, scale, upscale)
  if max(size) > MAX_SIDE or size[0] * size[1] > max_pixels:
    raise Refused("too_narrow", f"{height}x{width} would become {size[0]}x{size[1]}")


def _decode_jpeg(data: bytes, check: Callable[[int, int], None]) -> Picture:
  height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
  check(height, width)
  inks = colours in ("CMYK", "YCCK")
  repairs = (("from_cmyk", colours),) if inks else ()
  try:
    rgb = simplejpeg.decode_jpeg(data, colorspace="CMYK" if inks else "RGB", strict=True)
    if not inks:
      return Picture(rgb)
  except ValueError as error:
    _check_memory(error)
    repairs += (("damaged_scan", str(error)),)
  with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
    return Picture(np.asarray(image.convert("RGB")), repairs)  # raises where bytes are missing


def _decode_other(data: bytes, check: Callable[[int, int], None]) -> Picture:
  try:
    image = Image.open(io.BytesIO(data), formats=_OTHER_FORMATS)
  except UnidentifiedImageError:
    raise Refused(
      "not_an_image",
      f"starts with {data[:4].hex(' ')}; JPEG, {', '.join(_OTHER_FORMATS)} are read",
    ) from None
  with image:
    width, height = image.size
    check(height, width)
    if getattr(image, "is_animated", False):
      raise Refused("animated", f"{image.format} of more than one frame")
    kind = f"{image.format} {image.mode}"
    return Picture(_to_rgb(image), ((f"from_{image.format.lower()}", kind),))


def _to_rgb(image: Image.Image) -> np.ndarray:
  if image.mode.startswith("I"):  # Pillow's convert would clip 16 bits to 8 instead of scaling
    image.load()
    grey = (np.asarray(image) >> 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
  if image.mode not in _DIRECT_MODES:
    raise Refused("unsupported_mode", f"{image.format} {image.mode}")
  if image.mode in ("RGBA", "RGBX"):
    return np.asarray(image)[..., :3]
  return np.asarray(image.convert("RGB"))


def _check_memory(error: Exception):
  """Decoders without memory say so in words, and nothing is wrong with the image then."""
  if "memory" in str(error).lower():
    raise MemoryError(str(error)) from error


def _diagnose(data: bytes, error: Exception) -> tuple[str, str]:
  """A JPEG that nowhere ends was cut; others are known only by what their decoder says."""
  message = f"{error or type(error).__name__}, {len(data)} bytes"
  cut = data.startswith(_JPEG_START) and _JPEG_END not in data
  cut = cut or "truncated" in message.lower() or isinstance(error, EOFError)
  return ("truncated" if cut else "damaged"), message
