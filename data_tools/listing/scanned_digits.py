"""scikit-learn's 1,797 scanned digits as JPEG files in ImageNet's layout: their names and bytes."""

from collections import Counter

from vggtf import errors

HELD_OUT_EVERY = 5
ENLARGEMENT = 8  # so that each scanned pixel is one 8x8 block of the JPEG, and comes back exactly
LEVELS = 16  # the highest value of a scanned pixel


def name_images(labels) -> list[str]:
  """Returns "<split>/<digit>/<index>.jpg" of each image, given the digits of all of them, [n]."""
  seen: Counter[int] = Counter()
  names = []
  for index, label in enumerate(labels.tolist()):
    seen[label] += 1
    split = "train" if seen[label] % HELD_OUT_EVERY else "validation"
    names.append(f"{split}/{label}/{index:04d}.jpg")
  return names


def encode(image) -> bytes:
  """Returns an image, [8, 8] of values 0..16, as a grey JPEG of 64x64 pixels."""
  import numpy as np
  import simplejpeg

  grey = np.rint(image * (255 / LEVELS)).astype(np.uint8)
  grey = np.kron(grey, np.ones((ENLARGEMENT, ENLARGEMENT), np.uint8))
  return simplejpeg.encode_jpeg(
    grey[..., None], quality=100, colorspace="GRAY", colorsubsampling="Gray"
  )


def load() -> tuple:
  """Returns the images, [1797, 8, 8] of values 0..16, and their digits, [1797].

  Raises:
    EnvironmentFault: scikit-learn is missing.
  """
  try:
    from sklearn.datasets import load_digits
  except ImportError as error:
    raise errors.EnvironmentFault(
      f"scikit-learn, which holds the digits, cannot be imported ({error}); run: pip install "
      "'vggtf[demo]'"
    ) from None
  data = load_digits()
  return data.images, data.target
