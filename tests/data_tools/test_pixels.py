"""Decoders against Pillow and against values written down by hand; damage never escapes."""

import io
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_tools import pixels
from vggtf import schema

LIMITS = {"max_pixels": 10**6, "largest_scale": 48}


def refusal(data: bytes, **limits) -> pixels.Refused:
  with pytest.raises(pixels.Refused) as caught:
    pixels.decode(data, **LIMITS | limits)
  return caught.value


def kinds(picture: pixels.Picture) -> list[str]:
  return [kind for kind, _ in picture.repairs]


@pytest.mark.parametrize(
  "options",
  [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"quality": 30}],
  ids=str,
)
def test_jpeg_equals_pillow(paint, save, options):
  data = save(paint(1, 47, 53), **options)
  picture = pixels.decode(data, **LIMITS)
  np.testing.assert_array_equal(picture.rgb, np.asarray(Image.open(io.BytesIO(data))))
  assert not picture.repairs


def test_grey_jpeg_is_expanded(paint, save):
  data = save(Image.fromarray(paint(1, 20, 30)).convert("L"))
  grey = np.asarray(Image.open(io.BytesIO(data)))
  picture = pixels.decode(data, **LIMITS)
  np.testing.assert_array_equal(picture.rgb, np.stack([grey] * 3, axis=2))


def test_cmyk_jpeg_is_converted_by_pillow(paint, save):
  rgb = paint(2, 32, 40)
  data = save(Image.fromarray(rgb).convert("CMYK"), quality=100, subsampling=0)
  picture = pixels.decode(data, **LIMITS)
  assert kinds(picture) == ["from_cmyk"]
  assert np.abs(picture.rgb.astype(int) - rgb).mean() < 3  # its own colours, not their negative


def test_exif_orientation_is_ignored(paint, save):
  rgb = paint(3, 20, 30)
  exif = Image.Exif()
  exif[0x0112] = 6  # rotate by 90 degrees
  turned = pixels.decode(save(rgb, exif=exif), **LIMITS).rgb
  np.testing.assert_array_equal(turned, pixels.decode(save(rgb), **LIMITS).rgb)


@pytest.mark.parametrize(
  ("format_", "options"),
  [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})],
  ids=["png", "bmp", "webp"],
)
def test_lossless_formats_come_back_exactly(paint, save, format_, options):
  rgb = paint(4, 21, 35)
  picture = pixels.decode(save(rgb, format_, **options), **LIMITS)
  np.testing.assert_array_equal(picture.rgb, rgb)
  assert kinds(picture) == [f"from_{format_.lower()}"]


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_alpha_is_dropped_not_composited(paint, save, format_):
  rgb = paint(4, 21, 35)
  alpha = np.full((21, 35, 1), 128, np.uint8)
  options = {"lossless": True} if format_ == "WEBP" else {}
  data = save(np.concatenate([rgb, alpha], axis=2), format_, **options)
  np.testing.assert_array_equal(pixels.decode(data, **LIMITS).rgb, rgb)


def test_grey_alpha_is_dropped(save):
  bands = [Image.new("L", (5, 4), 77), Image.new("L", (5, 4), 3)]
  data = save(Image.merge("LA", bands), "PNG")
  assert (pixels.decode(data, **LIMITS).rgb == 77).all()


def test_sixteen_bit_grey_png_is_scaled_not_clipped(save):
  values = np.array([[0, 255, 256], [4000, 40000, 65535]], np.uint16)
  data = save(Image.fromarray(values), "PNG")
  expected = np.array([[0, 0, 1], [15, 156, 255]], np.uint8)
  np.testing.assert_array_equal(pixels.decode(data, **LIMITS).rgb, np.dstack([expected] * 3))


def test_sixteen_bit_colour_png_takes_the_high_byte():
  def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

  pixel = struct.pack(">HHH", 65535, 40000, 255)
  data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
  data += chunk(b"IDAT", zlib.compress(b"\0" + pixel)) + chunk(b"IEND", b"")
  assert pixels.decode(data, **LIMITS).rgb.tolist() == [[[255, 156, 0]]]


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP"])
def test_palettes_and_bits_are_expanded(paint, save, format_):
  image = Image.fromarray(paint(6, 12, 9)).quantize(7)
  expected = np.asarray(image.convert("RGB"))
  np.testing.assert_array_equal(pixels.decode(save(image, format_), **LIMITS).rgb, expected)
  if format_ != "GIF":
    bits = Image.fromarray(np.eye(9, dtype=bool))
    black_white = pixels.decode(save(bits, format_), **LIMITS).rgb
    np.testing.assert_array_equal(black_white[..., 0], np.eye(9) * 255)


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_animations_are_refused(paint, save, format_):
  frames = [Image.fromarray(paint(seed, 9, 9)) for seed in range(3)]
  data = save(frames[0], format_, save_all=True, append_images=frames[1:])
  assert refusal(data).reason == "animated"


def test_empty_and_foreign_files_are_refused(save, paint):
  assert refusal(b"").reason == "empty"
  for data in (b"hello", b"\0" * 100, b"%PDF-1.7", save(paint(1, 5, 5), "TIFF")):
    assert refusal(data).reason == "not_an_image"
  assert "68 65 6c 6c" in refusal(b"hello").detail


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.5, 0.9, -2])
def test_cut_jpegs_are_refused(paint, save, keep):
  data = save(paint(2, 200, 200))
  cut = data[: int(len(data) * keep) if keep > 0 else keep]
  assert refusal(cut).reason == "truncated"


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP", "WEBP"])
def test_cut_files_of_other_formats_are_refused(paint, save, format_):
  data = save(paint(2, 100, 100), format_)
  assert refusal(data[: len(data) // 2]).reason in ("truncated", "damaged")


def test_damaged_scan_is_kept_and_named(damage_scan):
  damaged, whole = damage_scan
  picture = pixels.decode(damaged, **LIMITS)
  assert kinds(picture) == ["damaged_scan"]
  np.testing.assert_array_equal(picture.rgb, np.asarray(Image.open(io.BytesIO(damaged))))
  assert pixels.decode(whole, **LIMITS).repairs == ()


def test_trailing_bytes_are_accepted(paint, save):
  data = save(paint(2, 20, 20))
  assert pixels.decode(data + b"garbage", **LIMITS).repairs == ()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_huge_headers_are_refused_before_decoding(paint, save):
  jpeg = save(paint(2, 20, 20))
  at = jpeg.index(b"\xff\xc0") + 5
  huge = jpeg[:at] + struct.pack(">HH", 65_500, 65_500) + jpeg[at + 4 :]
  assert refusal(huge, max_pixels=100_000_000).reason == "too_large"
  png = save(paint(2, 20, 20), "PNG")
  for side in (12_000, 200_000):  # the second is too much for Pillow's own limit
    ihdr = b"IHDR" + struct.pack(">II", side, side) + png[24:29]
    bomb = png[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + png[33:]
    assert refusal(bomb, max_pixels=100_000_000).reason == "too_large"


def test_max_pixels_is_inclusive(paint, save):
  data = save(paint(2, 50, 60))
  assert pixels.decode(data, max_pixels=3000, largest_scale=32).rgb.shape == (50, 60, 3)
  assert refusal(data, max_pixels=2999).detail == "50x60 is more than 2999 pixels"


def test_needles_are_refused(save):
  needle = np.zeros((1, 10_000, 3), np.uint8)
  assert refusal(save(needle), largest_scale=256, max_pixels=10**8).reason == "too_narrow"
  assert pixels.decode(save(np.zeros((1, 1, 3), np.uint8)), **LIMITS).rgb.shape == (1, 1, 3)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF"]))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused_never_raised(tail, head):
  with pytest.raises(pixels.Refused):
    pixels.decode(head + tail, **LIMITS)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_flipped_bytes_decode_or_are_refused(paint, save, format_):
  data = save(paint(9, 30, 30), format_)
  random = np.random.default_rng(0)
  for _ in range(60):
    flipped = bytearray(data)
    for at in random.integers(0, len(data), 3):
      flipped[at] ^= int(random.integers(1, 256))
    try:
      rgb = pixels.decode(bytes(flipped), **LIMITS).rgb
    except pixels.Refused:
      continue
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.shape[2] == 3


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 512))
def test_scaled_sides_are_exact(height, width, scale):
  shortest = min(height, width)
  sides = [schema.scaled_side(side, shortest, scale) for side in (height, width)]
  assert min(sides) == scale
  for side, scaled in zip((height, width), sides, strict=True):
    assert scaled == int(np.floor(np.float64(side) * scale / shortest + 0.5)) or (
      Fraction(2 * side * scale, shortest).denominator == 1  # a half, where float64 may fall short
    )
    assert abs(Fraction(side * scale, shortest) - scaled) <= Fraction(1, 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([24, 32, 48]))
def test_rescaled_images_have_that_smallest_side(height, width, scale):
  random = np.random.default_rng(height * 100 + width)
  rgb = random.integers(0, 256, (height, width, 3), np.uint8)
  scaled = pixels.rescale(rgb, scale)
  assert min(scaled.shape[:2]) == scale
  size = scaled.shape[1], scaled.shape[0]
  expected = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(scaled, np.asarray(expected))


def test_equal_size_is_left_alone(paint):
  rgb = paint(1, 32, 47)
  np.testing.assert_array_equal(pixels.rescale(rgb, 32), rgb)


def test_encoding_keeps_all_chroma(paint):
  encoded = pixels.encode(paint(1, 33, 41), 95)
  assert simplejpeg.decode_jpeg_header(encoded) == (33, 41, "YCbCr", "444")
  stored = pixels.decode_stored(encoded).astype(float)
  assert np.sqrt(np.mean((stored - paint(1, 33, 41)) ** 2)) < 2


def cubic(x: np.ndarray) -> np.ndarray:
  """Keys's kernel with a = -0.5, from his paper."""
  x = np.abs(x)
  near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
  return np.where(x < 1, near, np.where(x < 2, far, 0))


def weigh(length: int, wanted: int) -> np.ndarray:
  """Float64 [wanted, length]: the kernel about each new pixel's centre, widened when shrinking."""
  step = length / wanted
  centres = (np.arange(wanted)[:, None] + 0.5) * step
  weights = cubic((np.arange(length) + 0.5 - centres) / max(step, 1))
  return weights / weights.sum(axis=1, keepdims=True)


def resample(rgb: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
  """The nearest levels, [height, width, 3]; and those with the first pass held to 0..255."""
  rows = np.einsum("ow,hwc->hoc", weigh(rgb.shape[1], width), rgb.astype(np.float64))
  down = weigh(rgb.shape[0], height)
  exact, held = (np.einsum("oh,hwc->owc", down, one) for one in (rows, rows.clip(0, 255)))
  return np.rint(exact.clip(0, 255)), np.rint(held.clip(0, 255))


@pytest.mark.parametrize("scale", [16, 37, 64, 96, 150])
@pytest.mark.parametrize("grain", [0, 12, 255], ids=["smooth", "photo", "noise"])
def test_rescaling_is_the_antialiased_cubic(paint, scale, grain):
  noise = np.random.default_rng(scale).normal(0, grain, (64, 91, 1))
  rgb = (paint(scale, 64, 91) + noise).clip(0, 255).astype(np.uint8)
  scaled = pixels.rescale(rgb, scale).astype(np.float64)
  exact, held = resample(rgb, *scaled.shape[:2])
  # Pillow keeps whole levels between its passes, and so cuts off what overshoots in the first one.
  assert np.abs(scaled - held).max() <= 1
  assert np.abs(scaled - exact).mean() < 0.5 or grain == 255
  if grain < 255:
    assert (np.abs(scaled - exact) <= 1).mean() > 0.99


def test_small_images_keep_their_size_unless_enlarged(paint):
  rgb = paint(1, 30, 40)
  np.testing.assert_array_equal(pixels.rescale(rgb, 60, upscale=False), rgb)
  assert pixels.rescale(rgb, 60).shape == (60, 80, 3)
  assert pixels.rescale(rgb, 15, upscale=False).shape == (15, 20, 3)
  assert pixels.rescale(rgb, 0).shape == rgb.shape


def test_needles_are_kept_where_nothing_is_enlarged(save):
  needle = save(np.zeros((1, 10_000, 3), np.uint8))
  picture = pixels.decode(needle, max_pixels=10**8, largest_scale=256, upscale=False)
  assert picture.rgb.shape == (1, 10_000, 3)
