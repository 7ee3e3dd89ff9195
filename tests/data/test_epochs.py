"""P6: each image once an epoch, whatever becomes of the processes that train."""

import collections
import functools

import numpy as np

from vggtf.data import pipeline, train_view

STEPS_AN_EPOCH = 6  # of 8 of the 48 images


def test_each_image_is_seen_once_an_epoch_across_kills_and_workers(data_set):
  view = functools.partial(train_view.TrainView, scale_min=32, scale_max=32)
  feed = pipeline.TrainingFeed(data_set, 24, 1, view, batch_size=8)
  last = 3 * STEPS_AN_EPOCH
  random = np.random.RandomState(13)
  seen: dict[int, list[bytes]] = {}
  saved, repeated, crews = 0, 0, set()
  while saved < last:
    workers = int(random.choice([1, 2, 4]))
    crews.add(workers)
    killed = min(saved + random.randint(3, 9), last)
    parts = [
      list(feed.batches(saved, worker, workers).take(killed - saved).as_numpy_iterator())
      for worker in range(workers)
    ]
    for step, batches in enumerate(zip(*parts, strict=True), saved):
      ids = [id_ for batch in batches for id_ in batch.id]
      repeated += step in seen
      assert seen.setdefault(step, ids) == ids
    saved = random.randint(saved + 1, killed + 1)  # the newest checkpoint
  assert repeated > 0
  assert crews == {1, 2, 4}
  everything = {b"train/%05d" % at: 1 for at in range(48)}
  for first in range(0, last, STEPS_AN_EPOCH):
    epoch = [id_ for step in range(first, first + STEPS_AN_EPOCH) for id_ in seen[step]]
    assert collections.Counter(epoch) == everything
