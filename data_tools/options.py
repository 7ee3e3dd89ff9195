"""What shapes the converted bytes, as one frozen value that travels to every worker."""

import dataclasses
import re
from typing import Literal

from vggtf import errors

# Pillow refuses larger images by itself (twice its MAX_IMAGE_PIXELS), whatever we allow.
PILLOW_MAX_PIXELS = 178_956_970
MAX_SIDE = 65_500  # of a JPEG, libjpeg's JPEG_MAX_DIMENSION
MAX_SHARDS = 99_999  # file names count shards with five digits


@dataclasses.dataclass(frozen=True)
class Options:
  """Options of a conversion.

  Attributes:
    scales: smallest sides in pixels, ascending; one folder of shards each. 0 keeps the original
      size, and the very bytes of a sound JPEG.
    shards: (split, number of files) in the order given.
    quality: JPEG quality of the stored images, 1..100.
    max_pixels: an image of more pixels, or that would have more at the largest scale, is refused
      before it is decoded.
    max_reject_fraction: refused images as a fraction of listed ones, above which nothing is
      published.
    upscale: whether an image smaller than a scale is enlarged to it, as the paper does; else it is
      stored as it is.
    damaged_jpeg: what becomes of a JPEG whose scan is damaged but complete enough for a lenient
      decoder: kept and listed in `repaired.jsonl`, or rejected.
  """

  scales: tuple[int, ...]
  shards: tuple[tuple[str, int], ...]
  quality: int = 95
  upscale: bool = True
  max_pixels: int = 100_000_000
  max_reject_fraction: float = 0.001
  damaged_jpeg: Literal["keep", "reject"] = "keep"

  def __post_init__(self):
    """Refuses values that no conversion can have.

    Raises:
      UsageError: a value is out of range; the message names the flag.
    """
    names = [split for split, _ in self.shards]
    _require(self.scales, "--scales", self.scales, "at least one smallest side, as 256,384,512")
    _require(
      all(0 <= s <= MAX_SIDE for s in self.scales),
      "--scales",
      self.scales,
      f"1..{MAX_SIDE} pixels, or 0 for the original size",
    )
    _require(
      list(self.scales) == sorted(set(self.scales)), "--scales", self.scales, "each scale once"
    )
    _require(self.shards, "--shards", self.shards, "at least one split, as train=4,validation=2")
    _require(len(names) == len(set(names)), "--shards", names, "each split once")
    for split, number in self.shards:
      _require(re.fullmatch("[a-z][a-z0-9_]*", split), "--shards", split, "a split such as train")
      _require(
        0 < number <= MAX_SHARDS, "--shards", f"{split}={number}", f"1..{MAX_SHARDS} files a split"
      )
    _require(1 <= self.quality <= 100, "--quality", self.quality, "1..100")
    _require(
      0 < self.max_pixels <= PILLOW_MAX_PIXELS,
      "--max_pixels",
      self.max_pixels,
      f"1..{PILLOW_MAX_PIXELS} (Pillow's own bound)",
    )
    _require(
      0 <= self.max_reject_fraction <= 1, "--max_reject_fraction", self.max_reject_fraction, "0..1"
    )
    _require(
      self.damaged_jpeg in ("keep", "reject"), "--damaged_jpeg", self.damaged_jpeg, "keep or reject"
    )

  def describe(self) -> dict:
    """Returns the options as JSON values for the manifest; no path is among them."""
    described = dataclasses.asdict(self)
    described["scales"] = list(self.scales)
    described["shards"] = dict(self.shards)
    return described


def _require(holds, flag: str, given, expected: str):
  if not holds:
    raise errors.UsageError(f"{flag}: got {given!r}, expected {expected}")


def parse_scales(text: str) -> tuple[int, ...]:
  """Returns the scales of "256,384,512", ascending.

  Raises:
    UsageError: not whole numbers between commas.
  """
  try:
    return tuple(sorted(int(part) for part in text.split(",")))
  except ValueError:
    raise errors.UsageError(
      f"--scales: got {text!r}, expected smallest sides in pixels, as 256,384,512"
    ) from None


def parse_shards(text: str) -> tuple[tuple[str, int], ...]:
  """Returns the (split, number) pairs of "train=4,validation=2".

  Raises:
    UsageError: not split=number between commas.
  """
  try:
    pairs = [part.split("=") for part in text.split(",")]
    return tuple((split.strip(), int(number)) for split, number in pairs)
  except ValueError:
    raise errors.UsageError(
      f"--shards: got {text!r}, expected files per split, as train=4,validation=2"
    ) from None
