"""Greedy merging of many boxes of one object into few (Sermanet et al., 2014, section 4.3)."""

import numpy as np

from vggtf.data import boxes


def merge(
  found: np.ndarray, ratings: np.ndarray, threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
  """Merges the two boxes that overlap most, again and again, until none overlap enough.

  A merged box is the mean of all that went into it, and its rating their sum.

  Args:
    found: float64 [K, 4], centre x and y, width and height.
    ratings: float64 [K], how sure each is.
    threshold: intersection over union of which two are still merged, if it is more.

  Returns:
    The merged boxes, float64 [M, 4], and their ratings, [M]; the best first.
  """
  found, ratings, counts = found.copy(), ratings.copy(), np.ones(len(found))
  pairs = np.stack([_overlap(one, found) for one in found])
  np.fill_diagonal(pairs, 0)
  while pairs.max() > threshold:
    one, other = np.unravel_index(pairs.argmax(), pairs.shape)
    total = counts[one] + counts[other]
    found[one] = (counts[one] * found[one] + counts[other] * found[other]) / total
    ratings[one] += ratings[other]
    counts[one] = total
    found, ratings, counts = (np.delete(each, other, axis=0) for each in (found, ratings, counts))
    pairs = np.delete(np.delete(pairs, other, axis=0), other, axis=1)
    one -= other < one
    pairs[one] = pairs[:, one] = _overlap(found[one], found)
    pairs[one, one] = 0
  order = np.argsort(-ratings, kind="stable")
  return found[order], ratings[order]


def _overlap(one: np.ndarray, others: np.ndarray) -> np.ndarray:
  return boxes.overlap(np.tile(one, (len(others), 1)), others).numpy()
