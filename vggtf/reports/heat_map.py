"""Where in a photo a net sees a class: values at places, laid over the photo.

A place of a dense class-score map (section 3.2) is what the net says of one window of the picture,
so its value stands at that window's centre. To stretch the map to the photo's edges instead would
draw it too wide: at Q = 448 the outermost windows of 224 end at the edges, their centres are a
quarter of the side away.
"""

from __future__ import annotations

import numpy as np

# Black over red to pale yellow, of growing lightness, so that it reads in grey and with any eyes.
COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
_WEIGHT = 0.55  # of the colour; the rest is the photo's
_ROWS = 256  # coloured at a time, for photos have many


def draw(photo: np.ndarray, values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
  """Returns the photo, uint8 [H, W, 3], under the map; arguments as for `overlay` and `spread`."""
  return overlay(photo, spread(values, photo.shape[:2], window))


def spread(values: np.ndarray, size: tuple[int, int], window: tuple[float, float]) -> np.ndarray:
  """Interpolates a map bilinearly between the centres of what its places see.

  The windows lie evenly, the outermost ones at the photo's edges: a net whose stride does not fit
  the picture leaves out up to a stride of it. Beyond the outermost centres the nearest value holds.

  Args:
    values: float [h, w].
    size: height and width of the photo, pixels.
    window: height and width of a window, as fractions of the photo's; below 1 where the map has
      several places.

  Returns:
    float32 [height, width], the value at the centre of each pixel.
  """
  rows, columns = (
    _weights(count, length, share)
    for count, length, share in zip(values.shape, size, window, strict=True)
  )
  return rows @ values.astype(np.float32) @ columns.T


def _weights(count: int, length: int, window: float) -> np.ndarray:
  """Returns float32 [length, count], how much each of `count` places counts at each pixel."""
  if count == 1:
    return np.ones((length, 1), np.float32)
  pixels = (np.arange(length) + 0.5) / length
  places = np.clip((pixels - window / 2) / (1 - window) * (count - 1), 0, count - 1)
  weights = np.clip(1 - np.abs(places[:, np.newaxis] - np.arange(count)), 0, None)
  return weights.astype(np.float32)


def overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
  """Colours a photo.

  Args:
    photo: uint8 [H, W, 3], RGB.
    heat: float32 [H, W], 0 to 1, such as posteriors; 0 and 1 have the same colours in every photo.

  Returns:
    uint8 [H, W, 3], RGB.
  """
  levels = np.linspace(0, 1, len(COLOURS))
  coloured = np.empty_like(photo)
  for top in range(0, len(photo), _ROWS):
    part = slice(top, top + _ROWS)
    for channel, stops in enumerate(zip(*COLOURS, strict=True)):
      colour = np.interp(heat[part], levels, stops)
      mixed = _WEIGHT * colour + (1 - _WEIGHT) * photo[part, :, channel]
      coloured[part, :, channel] = np.round(mixed)
  return coloured
