"""One encoded image to the JPEGs that are stored of it: Repair, Rescale, Encode. No files, no Beam.

The image is decoded once, and every scale is made from those pixels.
"""

import dataclasses

import numpy as np

from data_tools import pixels, statistics


@dataclasses.dataclass(frozen=True)
class Wanted:
  """What is to be made of every image.

  Attributes:
    scales: smallest sides in pixels; 0 is the original size.
    quality: of the JPEGs, 1..100.
    max_pixels: an image of more, or that would be stored with more, is refused undecoded.
    upscale: enlarge images that are smaller than a scale; they keep their size otherwise.
    damaged_jpeg: "keep" or "reject" a JPEG with a damaged scan that still decodes to its end.
  """

  scales: tuple[int, ...]
  quality: int
  max_pixels: int
  upscale: bool
  damaged_jpeg: str


@dataclasses.dataclass(frozen=True)
class Rendition:
  """A stored JPEG and its size in pixels."""

  encoded: bytes
  height: int
  width: int


@dataclasses.dataclass(frozen=True)
class Rendered:
  """What became of one image.

  Attributes:
    height: of the original, in pixels.
    width: of the original, in pixels.
    repairs: (kind, detail) of what was mended.
    renditions: one for each scale, in their order.
    moments: of the pixels at the smallest scale above 0, or else at scale 0, before they are
      encoded: to decode them again would take a twelfth of all the time, and change no mean by a
      level. Empty unless they were asked for.
  """

  height: int
  width: int
  repairs: tuple[tuple[str, str], ...]
  renditions: tuple[Rendition, ...]
  moments: statistics.Moments


def render(data: bytes, wanted: Wanted, measure: bool) -> Rendered:
  """Returns what is to be stored of an encoded image.

  Args:
    data: JPEG, PNG, GIF, WebP or BMP.
    wanted: what to make of it.
    measure: whether to sum up its pixels too.

  Raises:
    pixels.Refused: it cannot be converted, as `pixels.decode` says; "damaged" also for a scan that
      `wanted` rejects.
  """
  picture = pixels.decode(data, wanted.max_pixels, max(wanted.scales), wanted.upscale)
  damage = [detail for kind, detail in picture.repairs if kind == "damaged_scan"]
  if damage and wanted.damaged_jpeg == "reject":
    raise pixels.Refused("damaged", damage[0])
  # Without a repair it is a JPEG, and a sound one: to encode it again could only lose.
  original = None if picture.repairs else data
  smallest = min((scale for scale in wanted.scales if scale), default=0)
  renditions, moments = [], statistics.Moments()
  rescaled = pixels.rescale_all(picture.rgb, wanted.scales, wanted.upscale)
  for scale, rgb in zip(wanted.scales, rescaled, strict=True):
    renditions.append(_encode(rgb, wanted.quality, None if scale else original))
    if measure and scale == smallest:
      moments = statistics.measure(rgb)
  height, width = picture.rgb.shape[:2]
  return Rendered(height, width, picture.repairs, tuple(renditions), moments)


def _encode(rgb: np.ndarray, quality: int, original: bytes | None) -> Rendition:
  return Rendition(original or pixels.encode(rgb, quality), *rgb.shape[:2])
