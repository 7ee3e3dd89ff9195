import collections
import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_tools import pixels
from tests import samples
from vggtf import errors, images, records
from vggtf.data import evaluation_feed, order, pipeline, shards, train_view

BATCH = 7  # 48 images: batches straddle epochs, and blocks of reading straddle batches
view_at_32 = functools.partial(train_view.TrainView, scale_min=32, scale_max=32)
jittered_view = functools.partial(
  train_view.TrainView, scale_min=28, scale_max=60, colour_shift=train_view.ColourShift
)


def make_feed(data_set, view=jittered_view, batch_size=BATCH, side=24, seed=1):
  return pipeline.TrainingFeed(str(data_set), side, seed, view, batch_size=batch_size)


def take(feed, steps: int, first_step: int = 0) -> list:
  return list(feed.batches(first_step).take(steps).as_numpy_iterator())


def assert_equal(batches, expected):
  assert len(batches) == len(expected)
  for batch, other in zip(batches, expected, strict=True):
    for one, two in zip(batch, other, strict=True):
      np.testing.assert_array_equal(one, two)


def ids(batches) -> list[str]:
  return [id_.decode() for batch in batches for id_ in batch.id]


def test_batches_have_the_promised_types_and_shapes(data_set):
  (batch,) = take(make_feed(data_set), 1)
  assert (batch.image.dtype, batch.image.shape) == (np.uint8, (BATCH, 24, 24, 3))
  assert (batch.label.dtype, batch.label.shape) == (np.int32, (BATCH,))
  assert (batch.weight.dtype, batch.weight.tolist()) == (np.float32, [1.0] * BATCH)
  static = make_feed(data_set).batches(0).element_spec
  assert static.image.shape.as_list() == [BATCH, 24, 24, 3]


def test_the_stream_from_any_step_is_the_tail_of_the_whole_to_the_bit(data_set):
  whole = take(make_feed(data_set), 20)
  for first in (1, 6, 7, 13, 19):
    assert_equal(take(make_feed(data_set), 20 - first, first), whole[first:])


def test_a_feed_may_be_started_often_and_at_once(data_set):
  feed = make_feed(data_set)
  whole = take(feed, 6)
  one, other = (iter(feed.batches(at).as_numpy_iterator()) for at in (0, 2))
  mixed = [[next(one), next(other)] for _ in range(4)]
  assert_equal([pair[0] for pair in mixed], whole[:4])
  assert_equal([pair[1] for pair in mixed], whole[2:])


def test_each_image_is_seen_once_an_epoch_in_another_order(data_set):
  seen = ids(take(make_feed(data_set), 3 * 48 // BATCH + 1))
  epochs = [seen[48 * epoch : 48 * (epoch + 1)] for epoch in range(3)]
  for epoch in epochs:
    assert sorted(epoch) == [f"train/{at:05d}" for at in range(48)]
  assert len(set(map(tuple, epochs))) == 3


def test_the_batch_size_cuts_one_and_the_same_stream(data_set):
  small, large = (
    take(make_feed(data_set, batch_size=8), 12),
    take(make_feed(data_set, batch_size=48), 2),
  )
  for column in range(4):
    joined = [np.concatenate([batch[column] for batch in batches]) for batches in (small, large)]
    np.testing.assert_array_equal(*joined)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_read_their_own_images_alone_and_together_all(data_set, monkeypatch, workers):  # P6
  """Batches of 8 of 48: blocks of reading straddle steps and epochs."""
  whole = take(make_feed(data_set, batch_size=8), 14, first_step=1)
  size, find = 8 // workers, order.records_at
  for worker in range(workers):
    places = set()
    with monkeypatch.context() as patch:
      patch.setattr(
        order, "records_at", lambda at, *rest, s=places: s.update(at % 8 // size) or find(at, *rest)
      )
      feed = make_feed(data_set, batch_size=8)
      own = list(feed.batches(1, worker, workers).take(14).as_numpy_iterator())
    cut = slice(worker * size, (worker + 1) * size)
    assert_equal(own, [tuple(column[cut] for column in batch) for batch in whole])
    assert places == {worker}


def test_a_batch_that_workers_cannot_share_is_refused(data_set):
  with pytest.raises(errors.UsageError, match=r"batch_size = 7 cannot be .* among 2 proc"):
    make_feed(data_set).batches(0, 0, 2)


def test_another_seed_gives_another_stream(data_set):
  one, other = (take(make_feed(data_set, seed=seed), 2) for seed in (1, 2))
  assert ids(one) != ids(other)


def test_the_same_image_is_seen_differently_in_each_epoch(data_set):
  views = collections.defaultdict(set)
  for batch in take(make_feed(data_set, batch_size=48), 3):
    for image, id_ in zip(batch.image, batch.id, strict=True):
      views[id_].add(image.tobytes())
  assert {len(different) for different in views.values()} == {3}


def test_label_image_and_id_belong_together(data_set):
  colours = np.stack([samples.colour(label, 4) for label in range(4)])
  for batch in take(make_feed(data_set, view_at_32), 14):
    tints = batch.image.mean((1, 2)) - batch.image.mean((1, 2, 3))[:, None]
    nearest = np.linalg.norm(tints[:, None] - (colours - 128), axis=-1).argmin(1)
    assert nearest.tolist() == batch.label.tolist()
    assert [int(id_[-5:]) % 4 for id_ in batch.id] == batch.label.tolist()


def test_an_image_is_the_crop_that_its_numbers_say(data_set):
  feed = make_feed(data_set, view_at_32)
  found = shards.Shards(data_set, "train")
  (batch,) = take(feed, 1, first_step=7)  # epoch 1
  _, numbers = order.records_at(np.arange(49, 56), 1, 48)
  for image, number, epoch in zip(batch.image, numbers.tolist(), [1] * 7, strict=True):
    uniform = order.uniform(1, epoch, number)
    whole = pixels.decode_stored(found.read(number, 32).encoded)
    top, left = (int(u * (side - 23)) for u, side in zip(uniform[1:3], whole.shape, strict=False))
    crop = whole[top : top + 24, left : left + 24]
    np.testing.assert_array_equal(image, crop[:, ::-1] if uniform[3] < 0.5 else crop)


def test_jitter_reads_from_the_nearest_stored_scale(data_set, monkeypatch):
  feed = make_feed(data_set)
  read, seen = feed.records.read_picture, []
  monkeypatch.setattr(feed.records, "read_picture", lambda *at: seen.append(at) or read(*at))
  take(feed, 1)
  epochs, numbers = order.records_at(np.arange(7), 1, 48)
  expected = []
  for epoch, number in zip(epochs.tolist(), numbers.tolist(), strict=True):
    scale = 28 + int(order.uniform(1, epoch, number)[0] * 33)
    expected.append((number, 32 if scale**2 < 32 * 40 else 40))
  assert set(expected) <= set(seen)
  assert {scale for _, scale in expected} == {32, 40}
  assert max(collections.Counter(seen).values()) <= 2


@pytest.mark.parametrize("size", [-1, 0, 49])
def test_a_batch_larger_than_the_set_is_refused(data_set, size):
  with pytest.raises(errors.UsageError, match=rf"batch_size = {size}: expected 1 to 48, .*'train'"):
    make_feed(data_set, batch_size=size)


def test_padding_that_no_mirrored_crop_fills_is_refused(data_set):
  view = functools.partial(jittered_view, padding=24)
  with pytest.raises(errors.UsageError, match="padding = 24: expected less than 24, the side"):
    make_feed(data_set, view)


def test_the_whole_set_may_be_one_batch(data_set):
  assert len(set(ids(take(make_feed(data_set, batch_size=48), 1)))) == 48


def test_a_crop_larger_than_the_smallest_scale_is_refused(data_set):
  with pytest.raises(errors.UsageError, match=r"crops of 29 pixels .* smallest side 28: raise"):
    make_feed(data_set, side=29)


def flip_bit(folder, scale: int, file: int, record: int) -> str:
  name = f"scale_{scale}/train-{file:05d}-of-00003"
  data = bytearray((folder / name).read_bytes())
  offset, length = records.scan(bytes(data), name)[record]
  data[offset + length // 2] ^= 4
  (folder / name).write_bytes(data)
  return name


def test_a_damaged_record_ends_the_stream_and_is_named(damaged):
  name = flip_bit(damaged, 32, 1, 3)
  feed = make_feed(damaged, view_at_32)
  feed.raise_failure()
  with pytest.raises(tf.errors.OpError):
    take(feed, 8)
  with pytest.raises(errors.IntegrityError, match=rf"{name} record 3: damaged record"):
    feed.raise_failure()


def numbers_of(folder, file: int, records_: list[int]) -> list[int]:
  """The numbers of some records of a file of the training split."""
  files = shards.Shards(str(folder), "train").manifest.shards["scale_32/train"]
  return [sum(shard.records for shard in files[:file]) + record for record in records_]


def tolerant(folder, max_damaged: int):
  view = functools.partial(view_at_32, flip=False)
  return pipeline.TrainingFeed(str(folder), 32, 1, view, batch_size=BATCH, max_damaged=max_damaged)


def test_a_damaged_record_is_replaced_by_the_next_where_that_is_allowed(data_set, damaged, caplog):
  names = [flip_bit(damaged, 32, 1, record) for record in (3, 4)]
  found = shards.Shards(data_set, "train")
  known = [found.read(number, 32).id.encode() for number in range(48)]
  lost = numbers_of(damaged, 1, [3, 4])
  stands_in = {known[number]: known[lost[1] + 1] for number in lost}
  feed, whole = tolerant(damaged, 2), take(tolerant(data_set, 0), 14)
  batches = take(feed, 14)
  for batch, other in zip(batches, whole, strict=True):
    assert batch.id.tolist() == [stands_in.get(id_, id_) for id_ in other.id.tolist()]
    assert batch.weight.tolist() == [1.0] * BATCH
    sound = [id_ not in stands_in for id_ in other.id.tolist()]
    np.testing.assert_array_equal(batch.image[sound], other.image[sound])
  assert feed.damage() == (2, 48)
  said = [
    record.message for record in caplog.records if "replaced by the next one" in record.message
  ]
  assert len(said) == 2
  assert all(name in "".join(said) for name in names)
  assert_equal(take(tolerant(damaged, 2), 5, first_step=9), batches[9:])


def test_one_damaged_record_too_many_ends_the_stream(damaged):
  for record in (0, 3, 4):
    flip_bit(damaged, 32, 1, record)
  feed = tolerant(damaged, 2)
  with (
    pytest.raises(errors.IntegrityError, match=r"wrong checksum .*max_damaged = 2 such images"),
    pipeline.named_failures(feed),
  ):
    take(feed, 8)


def test_an_image_that_does_not_decode_counts_as_damaged(data_set, monkeypatch):
  read = shards.Shards.read_picture

  def read_garbage(self, number, scale):
    record = read(self, number, scale)
    return record._replace(encoded=record.encoded[:100]) if number == 5 else record

  monkeypatch.setattr(shards.Shards, "read_picture", read_garbage)
  feed = tolerant(data_set, 1)
  assert len(take(feed, 8)) == 8
  assert feed.damage() == (1, 48)


def test_a_set_without_a_sound_image_ends_the_stream(data_set, monkeypatch):
  def read_nothing(self, number, scale):
    raise errors.IntegrityError(f"record {number} is damaged")

  monkeypatch.setattr(shards.Shards, "read_picture", read_nothing)
  feed = tolerant(data_set, 1000)
  with pytest.raises(errors.IntegrityError, match="damaged"), pipeline.named_failures(feed):
    take(feed, 1)


def test_a_negative_number_of_damaged_images_is_refused(data_set):
  with pytest.raises(errors.UsageError, match=r"max_damaged = -1: expected 0 or more"):
    tolerant(data_set, -1)


@pytest.mark.parametrize("file", [0, 1, 2])
def test_a_damaged_record_of_any_file_ends_the_stream(damaged, file):
  name = flip_bit(damaged, 32, file, 0)
  feed = make_feed(damaged, view_at_32)
  with (
    pytest.raises(errors.IntegrityError, match=f"{name} record 0: damaged record"),
    pipeline.named_failures(feed),
  ):
    take(feed, 8)


JPEGS = [  # as cameras and the web have them, none as the converter writes them
  {"subsampling": "4:2:0"},
  {"subsampling": "4:2:2", "progressive": True},
  {"subsampling": "4:2:0", "progressive": True, "quality": 60},
  {"mode": "L"},
  {"mode": "L", "progressive": True},
]


def original(split: str, at: int) -> bytes:
  options = dict(JPEGS[at % len(JPEGS)])
  image = Image.fromarray(samples.draw(split, at, 4)).convert(options.pop("mode", "RGB"))
  buffer = io.BytesIO()
  image.save(buffer, "JPEG", **{"quality": 90} | options)
  return buffer.getvalue()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
  """Returns a set of the original sizes alone."""
  stored = {
    split: {0: [samples.record(split, at, 4, 0, original(split, at)) for at in range(count)]}
    for split, count in (("train", 30), ("validation", 10))
  }
  labels = [(f"n{at:02d}", f"class {at}") for at in range(4)]
  return samples.write_set(tmp_path_factory.mktemp("originals"), stored, labels)


@pytest.mark.parametrize("scale", [32, 40, 48])
def test_original_jpegs_of_any_kind_and_size_are_cut_at_their_scale(originals, scale):
  view = functools.partial(train_view.TrainView, scale_min=scale, scale_max=scale, flip=False)
  feed = make_feed(originals, view, batch_size=10)
  epochs, numbers = order.records_at(np.arange(30), 1, 30)
  batches = take(feed, 3)
  cut = np.concatenate([batch.image for batch in batches])
  for image, epoch, number in zip(cut, epochs.tolist(), numbers.tolist(), strict=True):
    uniform = order.uniform(1, epoch, number)
    record = feed.records.read(number, 0)
    by_pillow = np.asarray(Image.open(io.BytesIO(record.encoded)).convert("RGB"))
    whole = np.asarray(images.rescale(by_pillow, scale))
    top, left = (int(u * (side - 23)) for u, side in zip(uniform[1:3], whole.shape, strict=False))
    apart = np.abs(image.astype(int) - whole[top : top + 24, left : left + 24])
    # Halved chroma is interpolated from inside the window alone: its edge may be off.
    assert apart[2:-2, 2:-2].max() <= 3
    assert apart.mean() < 1


def test_originals_are_evaluated_at_the_predictor_s_scale(originals):
  batches = evaluate(originals, Whole(36), 4)
  assert {min(batch.image.shape[1:3]) for batch in batches} == {36}
  assert sorted(ids(batches)) == [f"validation/{at:05d}" for at in range(10)]


def test_a_file_cut_short_at_any_scale_of_the_jitter_is_found_before_the_first_step(damaged):
  path = damaged / "scale_40" / "train-00002-of-00003"
  path.write_bytes(path.read_bytes()[:-1])
  make_feed(damaged, view_at_32)
  with pytest.raises(errors.IntegrityError, match="scale_40/train-00002-of-00003 has"):
    make_feed(damaged)


class Centre:
  name, fixed_size = "centre", True

  def __init__(self, scale=32):
    self.scale = scale

  def prepare(self, image):
    return images.crop_centre(images.rescale(image, self.scale), 24)


class Whole(Centre):
  name, fixed_size = "whole", False

  def prepare(self, image):
    return images.rescale(image, self.scale)


class TwoScales(Centre):
  name, fixed_size = "two scales", False

  def prepare(self, image):
    return {"small": images.rescale(image, 20), "large": images.rescale(image, self.scale)}


def evaluate(data_set, predictor, batch_size: int) -> list:
  feed = evaluation_feed.EvaluationFeed(
    shards.Shards(str(data_set), "validation"), predictor, batch_size
  )
  return list(feed.batches().as_numpy_iterator())


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 32, 33, 70])
@pytest.mark.parametrize("predictor", [Centre(), Whole(), TwoScales()])
def test_every_image_is_evaluated_once_with_weight_1(tmp_path, count, predictor):
  batches = evaluate(samples.digits_like(tmp_path, train=0, validation=count), predictor, 8)
  counted = [id_ for batch in batches for id_, w in zip(batch.id, batch.weight, strict=True) if w]
  assert sorted(counted) == [b"validation/%05d" % at for at in range(count)]
  assert sum(batch.weight.sum() for batch in batches) == count


def test_views_of_one_size_are_padded_to_whole_batches_with_weight_0(data_set):
  batches = evaluate(data_set, Centre(), 8)  # of 17
  assert [batch.image.shape for batch in batches] == [(8, 24, 24, 3)] * 3
  assert [batch.weight.tolist() for batch in batches] == [[1.0] * 8] * 2 + [[1.0] + [0.0] * 7]
  assert not batches[-1].image[1:].any()
  assert batches[-1].id[1:].tolist() == [b""] * 7
  assert batches[-1].label.dtype == np.int32


def test_views_of_other_sizes_are_grouped_by_shape_and_never_padded(data_set):
  batches = evaluate(data_set, Whole(), 4)
  assert all(batch.weight.tolist() == [1.0] * len(batch.image) for batch in batches)
  assert max(len(batch.image) for batch in batches) == 4
  shapes = collections.Counter(batch.image.shape[1:] for batch in batches)
  found = shards.Shards(data_set, "validation")
  stored = [found.read(number, 32) for number in range(17)]
  images_of = collections.Counter((record.height, record.width, 3) for record in stored)
  assert shapes == {shape: -(-count // 4) for shape, count in images_of.items()}


def test_an_evaluated_image_is_the_stored_one_with_its_label(data_set):
  found = shards.Shards(data_set, "validation")
  stored = {r.id.encode(): r for r in (found.read(number, 32) for number in range(17))}
  for batch in evaluate(data_set, Whole(), 4):
    for image, label, id_ in zip(batch.image, batch.label, batch.id, strict=True):
      np.testing.assert_array_equal(image, pixels.decode_stored(stored[id_].encoded))
      assert label == stored[id_].label


def test_a_nest_of_views_is_batched_as_it_is(data_set):
  for batch in evaluate(data_set, TwoScales(), 4):
    small, large = batch.image["small"], batch.image["large"]
    assert len(small) == len(large) == len(batch.id)
    assert min(small.shape[1:3]) == 20
    assert min(large.shape[1:3]) == 32


def test_no_thread_that_tunes_delays_the_end_of_an_iterator(data_set):
  training = make_feed(data_set)
  evaluation = evaluation_feed.EvaluationFeed(training.records, Whole(), 4)
  for batches in (training.rows(), training.batches(0), evaluation.batches()):
    assert not batches.options().autotune.enabled


def test_evaluation_is_the_same_every_time(data_set):
  assert_equal(evaluate(data_set, Whole(), 4), evaluate(data_set, Whole(), 4))


@pytest.mark.parametrize(
  ("wanted", "stored"), [(24, 32), (32, 32), (33, 40), (40, 40), (41, 40), (100, 40)]
)
def test_the_smallest_stored_scale_that_suffices_is_read(data_set, monkeypatch, wanted, stored):
  found = shards.Shards(data_set, "validation")
  read, seen = found.read, set()
  monkeypatch.setattr(found, "read", lambda number, scale: seen.add(scale) or read(number, scale))
  list(evaluation_feed.EvaluationFeed(found, Centre(wanted), 8).batches())
  assert seen == {stored}


def test_a_damaged_record_ends_the_evaluation_and_is_named(damaged):
  path = damaged / "scale_32" / "validation-00001-of-00002"
  data = bytearray(path.read_bytes())
  data[-5] ^= 1
  path.write_bytes(data)
  feed = evaluation_feed.EvaluationFeed(shards.Shards(str(damaged), "validation"), Centre(), 8)
  with pytest.raises(tf.errors.OpError):
    list(feed.batches())
  with pytest.raises(errors.IntegrityError, match=rf"{path.name} record \d+: damaged record"):
    feed.raise_failure()


def test_an_image_that_does_not_decode_ends_the_stream_and_is_no_bug(data_set, monkeypatch):
  read = shards.Shards.read_picture

  def read_garbage(self, number, scale):
    record = read(self, number, scale)
    return record._replace(encoded=record.encoded[:100]) if number == 5 else record

  monkeypatch.setattr(shards.Shards, "read_picture", read_garbage)
  feed = make_feed(data_set, view_at_32)
  with (
    pytest.raises(
      errors.IntegrityError, match=r"cannot be decoded .* data_tools.verify --decode=all names it"
    ),
    pipeline.named_failures(feed),
  ):
    take(feed, 12)
