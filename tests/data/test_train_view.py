import numpy as np
import pytest
import tensorflow as tf

from data_tools import pixels, statistics
from vggtf import errors, images, manifest
from vggtf.data import order, train_view

COVARIANCE = ((4200.0, 3900.0, 3300.0), (3900.0, 4300.0, 3800.0), (3300.0, 3800.0, 4900.0))


def components(covariance) -> tuple[np.ndarray, np.ndarray]:
  """Eigenvalues, descending, and unit eigenvectors, a row each, as a manifest has them."""
  values, vectors = np.linalg.eigh(np.array(covariance))
  return values[::-1], vectors.T[::-1]


STATISTICS = manifest.Statistics(1, (128.0, 128.0, 128.0), COVARIANCE, *components(COVARIANCE))
GREY = np.full((1, 1, 3), 128, np.uint8)


def uniform(**given) -> np.ndarray:
  """The numbers of a view: a half each but for those given."""
  numbers = np.full(order.DRAWS, 0.5, np.float32)
  for name, value in given.items():
    numbers[("scale", "row", "column", "flip").index(name)] = value
  return numbers


def position_picture(height: int, width: int) -> bytes:
  """Rows are told apart by red, columns by green; blocks of 4 pixels survive JPEG."""
  rows, columns = np.mgrid[:height, :width]
  rgb = np.stack([rows * 6, columns * 4, np.full_like(rows, 128)], -1).astype(np.uint8)
  return pixels.encode(rgb, 100)


def cut(view, encoded, size, scale, numbers, side) -> np.ndarray:
  view_of = view.choose(np.array([size]), np.array([scale]), numbers[np.newaxis], side)
  view_of = tf.nest.map_structure(lambda column: tf.constant(column[0]), view_of)
  return view.show(encoded, view_of, side).numpy()


def test_crops_reach_every_position_of_the_picture_evenly_and_none_outside():
  view = train_view.TrainView(STATISTICS, 32, 32, flip=False)
  encoded = position_picture(32, 40)
  whole = pixels.decode_stored(encoded)
  for axis, name, free in ((0, "row", 5), (1, "column", 13)):
    for at in range(free):
      # The first and the last number that lead to this position.
      for number in (at / free + 1e-6, (at + 1) / free - 1e-6):
        crop = cut(view, encoded, (32, 40), 32, uniform(**{name: number}), 28)
        top, left = (at, 6) if axis == 0 else (2, at)
        np.testing.assert_array_equal(crop, whole[top : top + 28, left : left + 28])


@pytest.mark.parametrize("side", [28, 32])
def test_padded_crops_are_those_of_numpys_mirrored_picture_evenly(side):
  view = train_view.TrainView(STATISTICS, 32, 32, padding=4, flip=False)
  encoded = position_picture(32, 40)
  padded = np.pad(pixels.decode_stored(encoded), [(4, 4), (4, 4), (0, 0)], "reflect")
  rows, columns = 41 - side, 49 - side
  for at in range(columns):
    row = at % rows
    numbers = uniform(row=(row + 0.5) / rows, column=(at + 0.5) / columns)
    crop = cut(view, encoded, (32, 40), 32, numbers, side)
    np.testing.assert_array_equal(crop, padded[row : row + side, at : at + side])


def test_padding_of_less_than_nothing_is_refused():
  with pytest.raises(errors.UsageError, match="padding = -1: expected 0 or more pixels"):
    train_view.TrainView(STATISTICS, 32, 32, padding=-1)


def test_the_largest_numbers_stay_in_the_picture():
  view = train_view.TrainView(STATISTICS, 32, 64, flip=False)
  encoded = position_picture(32, 41)
  last = 1 - 2.0**-24
  for side in range(20, 33):
    crop = cut(view, encoded, (32, 41), 32, uniform(row=last, column=last), side)
    np.testing.assert_array_equal(crop, pixels.decode_stored(encoded)[-side:, -side:])


def test_a_crop_is_taken_at_the_scale_drawn():
  view = train_view.TrainView(STATISTICS, 20, 60, flip=False)
  picture = position_picture(32, 40)
  for scale in (24, 48):
    crop = cut(view, picture, (32, 40), scale, uniform(row=0, column=0), 16).astype(int)
    # Red grows by 6 a stored row.
    assert np.polyfit(np.arange(4, 12), crop[4:12, 8, 0], 1)[0] == pytest.approx(
      192 / scale, abs=0.2
    )


def test_half_of_the_crops_are_mirrored():
  plain = train_view.TrainView(STATISTICS, 32, 32, flip=False)
  view = train_view.TrainView(STATISTICS, 32, 32)
  encoded = position_picture(32, 40)
  for number, mirrored in ((0.0, True), (0.49999, True), (0.5, False), (0.99999, False)):
    expected = cut(plain, encoded, (32, 40), 32, uniform(flip=number), 24)
    crop = cut(view, encoded, (32, 40), 32, uniform(flip=number), 24)
    np.testing.assert_array_equal(crop, expected[:, ::-1] if mirrored else expected)
  drawn = [order.uniform(1, 0, number)[3] < 0.5 for number in range(10_000)]
  assert 0.48 < np.mean(drawn) < 0.52


def test_scales_are_uniform_over_the_range_and_both_ends_are_in_it():
  view = train_view.TrainView(STATISTICS, 256, 512)
  scales = view.scales(np.stack([order.uniform(1, 0, number) for number in range(20_000)]))
  counts = np.bincount(scales)
  assert (min(scales), max(scales)) == (256, 512)
  expected = len(scales) / 257
  chi_square = ((counts[256:] - expected) ** 2 / expected).sum()
  assert chi_square < 360  # quantile at 1 - 1e-5 for 256 degrees of freedom
  assert view.scales(uniform(scale=0)[np.newaxis]) == 256
  assert view.scales(uniform(scale=1 - 2.0**-24)[np.newaxis]) == 512
  assert (
    train_view.TrainView(STATISTICS, 256, 256).scales(uniform(scale=1 - 2.0**-24)[np.newaxis])
    == 256
  )


@pytest.mark.parametrize(("smallest", "largest"), [(0, 10), (-1, 10), (300, 256)])
def test_an_empty_range_of_scales_is_refused(smallest, largest):
  expected = rf"scale_min = {smallest}, scale_max = {largest}: expected 0 < min <= max"
  with pytest.raises(errors.UsageError, match=expected):
    train_view.TrainView(STATISTICS, smallest, largest)


def shifted(shift, image: np.ndarray, numbers: np.ndarray) -> np.ndarray:
  """Returns float64 [H, W, 3], the image by what the shift makes of its numbers."""
  (levels,) = shift(numbers[np.newaxis])
  return images.shift_colours(image, tf.constant(levels)).numpy().astype(np.float64)


def shift_in_float64(numbers: np.ndarray, covariance, std: float, length: str) -> np.ndarray:
  values, vectors = components(covariance)
  lengths = {"root": np.sqrt(values), "eigenvalue": values / 255**2 * 255}[length]
  numbers = numbers.astype(np.float64)
  normal = np.sqrt(-2 * np.log(1 - numbers[:3])) * np.cos(2 * np.pi * numbers[3:])
  return sum(v * a * s for v, a, s in zip(vectors, normal * std, lengths, strict=True))


@pytest.mark.parametrize("length", ["root", "eigenvalue"])
def test_colours_are_shifted_along_the_principal_components(length):
  shift = train_view.ColourShift(*components(COVARIANCE), 0.1, length)
  drawn = np.stack([order.uniform(1, 0, number)[4:] for number in range(300)])
  for numbers in drawn:
    exact = GREY + shift_in_float64(numbers, COVARIANCE, 0.1, length)
    assert np.abs(shifted(shift, GREY, numbers) - exact).max() < 0.5001


def test_shifts_of_length_root_have_the_set_s_own_covariance():
  """Whatever signs and order the components come in."""
  shift = train_view.ColourShift(*components(COVARIANCE), 0.3)
  drawn = np.stack([order.uniform(1, 0, number)[4:] for number in range(4000)])
  shifts = shift(drawn)
  np.testing.assert_allclose(shifts.mean(0), 0, atol=1)
  np.testing.assert_allclose(np.cov(shifts.T), 0.09 * np.array(COVARIANCE), rtol=0.1)


def test_the_components_of_a_manifest_span_its_covariance():
  """What the converter wrote is what the shift takes: rows, not columns."""
  mixing = [[0.5, 0.3, 0.1], [0.1, 0.5, 0.2], [0.3, 0.1, 0.6]]
  mixed = np.random.RandomState(0).randint(0, 256, (60, 70, 3)) @ mixing
  written = statistics.measure(mixed.astype(np.uint8)).summarize()
  shift = train_view.ColourShift(written.eigenvalues, written.eigenvectors, std=1.0)
  axes = np.stack([component(shift, at) for at in range(3)])
  exact = np.array(written.covariance_rgb)
  np.testing.assert_allclose(axes.T @ axes, exact, atol=0.02 * exact.max())  # whole levels
  assert not np.allclose(axes @ axes.T, exact, atol=0.1 * exact.max())


def component(shift, at: int) -> np.ndarray:
  """The shift of one standard deviation along a component."""
  numbers = np.array([0.0] * 3 + [0.5] * 3, np.float32)
  numbers[at], numbers[3 + at] = 1 - np.exp(-0.5), 0.0
  return shifted(shift, GREY, numbers).ravel() - 128


def test_one_shift_is_added_to_the_whole_picture_and_saturates():
  shift = train_view.ColourShift(*components(COVARIANCE), 1.0)
  numbers = order.uniform(1, 0, 3)[4:]
  image = np.random.RandomState(0).randint(0, 256, (9, 7, 3)).astype(np.uint8)
  exact = np.clip(image + shift_in_float64(numbers, COVARIANCE, 1.0, "root"), 0, 255)
  assert exact.min() == 0 or exact.max() == 255
  assert np.abs(shifted(shift, image, numbers) - exact).max() < 0.5001


def test_without_covariance_or_std_nothing_changes():
  image = np.random.RandomState(0).randint(0, 256, (9, 7, 3)).astype(np.uint8)
  numbers = order.uniform(1, 0, 3)[4:]
  for shift in (
    train_view.ColourShift(*components(np.zeros((3, 3)))),
    train_view.ColourShift(*components(np.zeros((3, 3))), length="eigenvalue"),
    train_view.ColourShift(*components(COVARIANCE), std=0.0),
  ):
    np.testing.assert_array_equal(shifted(shift, image, numbers), image)


def test_grey_pictures_are_shifted_in_grey():
  """Their covariance has rank 1: rounding must not make a root of a negative number."""
  shift = train_view.ColourShift(*components(np.full((3, 3), 1234.567)), 0.5)
  for number in range(50):
    grey = shifted(shift, GREY, order.uniform(1, 0, number)[4:])
    assert np.ptp(grey) <= 1


def test_the_rarest_numbers_give_a_finite_shift():
  shift = train_view.ColourShift(*components(COVARIANCE), 0.1)
  last = 1 - 2.0**-24
  for numbers in ([0.0] * 6, [last] * 6, [last] * 3 + [0.0] * 3):
    exact = GREY + shift_in_float64(np.array(numbers), COVARIANCE, 0.1, "root")
    found = shifted(shift, GREY, np.float32(numbers))
    assert np.abs(found - np.clip(exact, 0, 255)).max() < 0.51


def test_another_length_is_refused_with_those_that_exist():
  with pytest.raises(errors.UsageError, match=r"'sqrt' is unknown: .*'root', 'eigenvalue'"):
    train_view.ColourShift(*components(COVARIANCE), length="sqrt")


def test_a_view_shifts_colours_by_the_set_s_components_after_the_crop():
  view = train_view.TrainView(STATISTICS, 32, 32, colour_shift=train_view.ColourShift)
  plain = train_view.TrainView(STATISTICS, 32, 32)
  numbers = order.uniform(1, 0, 7)
  encoded = position_picture(32, 40)
  expected = shifted(
    train_view.ColourShift(*components(COVARIANCE)),
    cut(plain, encoded, (32, 40), 32, numbers, 24),
    numbers[4:],
  )
  np.testing.assert_array_equal(cut(view, encoded, (32, 40), 32, numbers, 24), expected)
