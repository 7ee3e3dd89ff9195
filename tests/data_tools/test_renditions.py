"""Every odd content to JPEGs of the sizes asked for, against Pillow and numpy."""

import dataclasses
import io
import resource
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from data_tools import pixels, renditions, statistics

WANTED = renditions.Wanted((24, 32, 48), 95, 10**6, True, "keep")


def look(jpeg: bytes) -> np.ndarray:
  image = Image.open(io.BytesIO(jpeg))
  assert image.format == "JPEG"
  return np.asarray(image.convert("RGB"))


def render(data: bytes, measure: bool = False, **changes) -> renditions.Rendered:
  return renditions.render(data, dataclasses.replace(WANTED, **changes), measure)


def sizes(rendered: renditions.Rendered) -> list[tuple[int, int]]:
  return [(one.height, one.width) for one in rendered.renditions]


def kinds(rendered: renditions.Rendered) -> list[str]:
  return [kind for kind, _ in rendered.repairs]


def save_ycck(rgb: np.ndarray) -> bytes:
  inks = 255 - np.asarray(Image.fromarray(rgb).convert("CMYK"))  # as Adobe stores them
  return simplejpeg.encode_jpeg(np.ascontiguousarray(inks), 95, colorspace="CMYK")


def save_oddities(paint, save) -> dict[str, tuple[bytes, str | None]]:
  """Files of 40 x 60, with the repair that each needs; all are called .JPEG somewhere."""
  rgb = paint(3, 40, 60)
  image = Image.fromarray(rgb)
  alpha = np.dstack([rgb, np.full((40, 60), 9, np.uint8)])
  exif = Image.Exif()
  exif[0x0112] = 8
  deep = Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27)
  return {
    "plain": (save(rgb), None),
    "progressive": (save(rgb, progressive=True), None),
    "grey": (save(image.convert("L")), None),
    "turned": (save(rgb, exif=exif), None),
    "trailing garbage": (save(rgb) + b"\0\xff\xd8 and more", None),
    "cmyk": (save(image.convert("CMYK")), "from_cmyk"),
    "ycck": (save_ycck(rgb), "from_cmyk"),
    "png": (save(rgb, "PNG"), "from_png"),
    "png of 16 bits": (save(deep, "PNG"), "from_png"),
    "png of a palette": (save(image.quantize(9), "PNG"), "from_png"),
    "png with alpha": (save(alpha, "PNG"), "from_png"),
    "gif": (save(image.quantize(9), "GIF"), "from_gif"),
    "bmp": (save(rgb, "BMP"), "from_bmp"),
    "webp": (save(rgb, "WEBP", lossless=True), "from_webp"),
  }


def test_oddities_become_rgb_of_the_sizes_asked_for(paint, save):
  for name, (data, repair) in save_oddities(paint, save).items():
    rendered = render(data)
    assert kinds(rendered) == ([repair] if repair else []), name
    assert (rendered.height, rendered.width) == (40, 60), name
    assert sizes(rendered) == [(24, 36), (32, 48), (48, 72)], name
    for one in rendered.renditions:
      assert look(one.encoded).shape == (one.height, one.width, 3), name
      assert simplejpeg.decode_jpeg_header(one.encoded)[2:] == ("YCbCr", "444"), name


def test_inks_keep_their_colours(paint, save):
  rgb = paint(3, 48, 60).astype(float)
  for data in (
    save_ycck(paint(3, 48, 60)),
    save(Image.fromarray(paint(3, 48, 60)).convert("CMYK")),
  ):
    found = look(render(data, scales=(48,)).renditions[0].encoded)
    assert np.abs(found - rgb).mean() < 4
  assert simplejpeg.decode_jpeg_header(save_ycck(paint(3, 48, 60)))[2] == "YCCK"


def test_each_rendition_comes_from_the_original_pixels(paint, save):
  data = save(paint(1, 47, 53))
  rgb = Image.open(io.BytesIO(data))
  for one, size in zip(render(data).renditions, [(27, 24), (36, 32), (54, 48)], strict=True):
    expected = np.asarray(rgb.resize(size, Image.Resampling.BICUBIC)).astype(float)
    assert np.abs(look(one.encoded) - expected).mean() < 2
    assert one.encoded == pixels.encode(expected.astype(np.uint8), 95)


def test_scale_0_keeps_the_bytes_of_sound_jpegs_only(paint, save, damage_scan):
  for name, (data, repair) in save_oddities(paint, save).items():
    rendered = render(data, scales=(0, 24))
    assert sizes(rendered) == [(40, 60), (24, 36)]
    assert (rendered.renditions[0].encoded == data) == (repair is None), name
    assert look(rendered.renditions[0].encoded).shape == (40, 60, 3)
  damaged, _ = damage_scan
  kept = render(damaged, scales=(0,))
  assert kinds(kept) == ["damaged_scan"]
  simplejpeg.decode_jpeg(kept.renditions[0].encoded, strict=True)  # mended for good


def test_a_jpeg_of_the_size_is_encoded_again_with_all_chroma(paint, save):
  data = save(paint(1, 32, 40), quality=60)
  assert render(data, scales=(32,)).renditions[0].encoded != data


def test_small_images_keep_their_size_where_nothing_is_enlarged(paint, save):
  data = save(paint(1, 30, 40))
  assert sizes(render(data, upscale=False)) == [(24, 32), (30, 40), (30, 40)]
  assert sizes(render(data)) == [(24, 32), (32, 43), (48, 64)]


def test_one_pixel_sides_and_needles(save):
  assert sizes(render(save(np.full((1, 1, 3), 77, np.uint8)))) == [(24, 24), (32, 32), (48, 48)]
  thin = save(np.full((1, 300, 3), 77, np.uint8), "PNG")
  assert sizes(render(thin, scales=(4,))) == [(4, 1200)]
  assert np.abs(look(render(thin, scales=(4,)).renditions[0].encoded) - 77.0).max() <= 1
  needle = save(np.full((1, 10_000, 3), 77, np.uint8))
  with pytest.raises(pixels.Refused, match=r"too_narrow: 1x10000 would become 48x480000"):
    render(needle)
  assert sizes(render(needle, upscale=False)) == [(1, 10_000)] * 3
  assert render(needle, scales=(0,)).renditions[0].encoded == needle


def test_sides_that_no_jpeg_can_have_are_refused(save):
  with pytest.raises(pixels.Refused, match="too_large: 1x65501 has a side of more than 65500"):
    render(save(np.zeros((1, 65_501, 3), np.uint8), "PNG"), scales=(0,))


def test_damaged_scans_are_kept_or_rejected(damage_scan):
  damaged, whole = damage_scan
  assert kinds(render(damaged)) == ["damaged_scan"]
  with pytest.raises(pixels.Refused, match="damaged: "):
    render(damaged, damaged_jpeg="reject")
  assert kinds(render(whole, damaged_jpeg="reject")) == []


@pytest.mark.parametrize("scales", [(0,), (24,), (48, 24), (0, 48, 32)], ids=str)
@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_moments_are_those_of_the_smallest_image_unencoded(paint, save, scales, format_):
  data = save(paint(1, 40, 60), format_)
  rendered = render(data, measure=True, scales=scales)
  smallest = min((scale for scale in scales if scale), default=40)
  rescaled = Image.open(io.BytesIO(data)).resize(
    (smallest * 60 // 40, smallest), Image.Resampling.BICUBIC
  )
  flat = np.asarray(rescaled).reshape(-1, 3).astype(np.int64)
  assert rendered.moments.pixels == len(flat)
  assert rendered.moments.sums == tuple(flat.sum(axis=0))
  assert rendered.moments.products[1] == (flat[:, 0] * flat[:, 1]).sum()


def test_moments_are_empty_unless_asked_for(paint, save):
  assert render(save(paint(1, 40, 60))).moments == statistics.Moments()


def forge_jpeg(save, paint, height: int, width: int) -> bytes:
  jpeg = save(paint(2, 20, 20))
  at = jpeg.index(b"\xff\xc0") + 5
  return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def forge_png(height: int, width: int) -> bytes:
  """A true bomb: a few hundred kilobytes of zeros, deflated, that are `height` x `width` pixels."""

  def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

  packer = zlib.compressobj(9)
  row = b"\0" * (1 + 3 * width)
  rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
  header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_by_their_header_and_take_no_memory(paint, save):
  bombs = [forge_jpeg(save, paint, 65_500, 65_500), forge_jpeg(save, paint, 10_001, 10_000)]
  bombs += [forge_png(12_000, 12_000)]
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  for bomb in bombs:
    with pytest.raises(pixels.Refused, match="too_large: "):
      render(bomb, max_pixels=100_000_000)
  assert (
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10
  )  # KiB; it is 412 MiB


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_animations_are_refused(paint, save, format_):
  frames = [Image.fromarray(paint(seed, 30, 30)) for seed in range(3)]
  with pytest.raises(pixels.Refused, match="animated: "):
    render(save(frames[0], format_, save_all=True, append_images=frames[1:]))


def test_cut_and_empty_files_are_refused(paint, save):
  for data, reason in ((save(paint(1, 99, 99))[:-200], "truncated"), (b"", "empty")):
    with pytest.raises(pixels.Refused, match=f"{reason}: "):
      render(data)


def test_a_scan_that_ends_before_the_picture_does_is_damage(paint, save):
  """The header promises more rows than the scan has; lenient decoders fill them with grey."""
  forged = forge_jpeg(save, paint, 90, 90)
  assert kinds(render(forged)) == ["damaged_scan"]
  with pytest.raises(pixels.Refused, match="damaged: "):
    render(forged, damaged_jpeg="reject")
