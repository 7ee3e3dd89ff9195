"""Losses of TensorFlow Addons against their formulas in NumPy and float64."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from vggtf import contracts, errors
from vggtf.losses import addons, softmax

GENERATOR = np.random.default_rng(1)
LOGITS = 3 * GENERATOR.standard_normal((6, 4))
FEATURES = 5 * GENERATOR.standard_normal((6, 8))
LABELS = np.array([0, 0, 1, 1, 2, 2], np.int32)
OUTPUTS = contracts.Outputs(
  tf.constant(LOGITS, tf.float32), features=tf.constant(FEATURES, tf.float32)
)
FOCAL = {"alpha": 0.25, "gamma": 2.0, "from_logits": True}
TRIPLETS = {"margin": 1.5, "distance_metric": "squared-L2"}


@pytest.mark.parametrize("jit_compile", [None, True])
def test_sigmoid_focal(jit_compile):
  loss = addons.OfLogits("SigmoidFocalCrossEntropy", FOCAL)
  function = loss if jit_compile is None else tf.function(loss, jit_compile=jit_compile)
  found = function(OUTPUTS, tf.constant(LABELS))
  right = np.eye(4)[LABELS]
  # Lin et al., 2017, equation 5, with p_t and alpha_t.
  p = np.where(right, scipy.special.expit(LOGITS), 1 - scipy.special.expit(LOGITS))
  expected = -(np.where(right, 0.25, 0.75) * (1 - p) ** 2 * np.log(p)).sum(axis=1)
  assert found.dtype == tf.float32
  assert found.shape == (6,)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_sparsemax():
  loss = addons.OfLogits("SparsemaxLoss", {"from_logits": True})
  # Martins & Astudillo, 2016, equation 23, by its definition as a projection on the simplex.
  expected = []
  for logits, label in zip(LOGITS, LABELS, strict=True):
    ordered = np.sort(logits)[::-1]
    support = ordered * np.arange(1, 5) > np.cumsum(ordered) - 1
    threshold = (ordered[support].sum() - 1) / support.sum()
    kept = logits[logits > threshold]
    expected.append(-logits[label] + 0.5 * (kept**2 - threshold**2).sum() + 0.5)
  np.testing.assert_allclose(loss(OUTPUTS, tf.constant(LABELS)), expected, rtol=1e-4, atol=1e-5)


def semi_hard(features, labels, margin):
  """Schroff et al., 2015, section 3.2: the nearest negative that is farther than the positive."""
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  distance = ((unit[:, None] - unit[None]) ** 2).sum(axis=2)
  losses = []
  for anchor in range(len(labels)):
    negatives = distance[anchor][labels != labels[anchor]]
    for positive in range(len(labels)):
      if positive == anchor or labels[positive] != labels[anchor]:
        continue
      farther = negatives[negatives > distance[anchor, positive]]
      negative = farther.min() if len(farther) else negatives.max()
      losses.append(max(0.0, margin + distance[anchor, positive] - negative))
  return np.mean(losses)


def test_triplets_of_features_beside_another_loss():
  expected = semi_hard(FEATURES, LABELS, margin=1.5)
  assert expected > 0.1
  alone = addons.OfFeatures("TripletSemiHardLoss", TRIPLETS)(OUTPUTS, LABELS)
  assert alone.shape == (6,)
  np.testing.assert_allclose(alone, [expected] * 6, rtol=1e-5)

  both = addons.OfFeatures("TripletSemiHardLoss", TRIPLETS, weight=0.2, beside=softmax.Softmax)
  entropy = softmax.Softmax()(OUTPUTS, LABELS).numpy()
  np.testing.assert_allclose(both(OUTPUTS, LABELS), 0.2 * expected + entropy, rtol=1e-5)


def test_a_net_without_features_is_refused():
  loss = addons.OfFeatures("TripletSemiHardLoss")
  with pytest.raises(errors.UsageError, match="this has none"):
    loss(contracts.Outputs(OUTPUTS.logits), LABELS)


@pytest.mark.parametrize("loss", [addons.OfLogits, addons.OfFeatures])
def test_an_unknown_loss_is_refused_with_the_closest(loss):
  with pytest.raises(errors.UsageError, match=r"Did you mean TripletSemiHardLoss\?"):
    loss("TripletSemiHardLos")


def test_wrong_options_are_refused():
  with pytest.raises(errors.UsageError, match=r"TripletSemiHardLoss does not take.*marching"):
    addons.OfFeatures("TripletSemiHardLoss", {"marching": 1.0})


def test_an_option_that_a_loss_lacks_is_named():
  with pytest.raises(errors.UsageError, match=r"WeightedKappaLoss does not take .*num_classes"):
    addons.OfLogits("WeightedKappaLoss")


def test_logits_are_never_taken_for_probabilities():
  plain = {name: one for name, one in FOCAL.items() if name != "from_logits"}
  found, expected = (
    addons.OfLogits("SigmoidFocalCrossEntropy", options)(OUTPUTS, tf.constant(LABELS))
    for options in (plain, FOCAL)
  )
  np.testing.assert_array_equal(found, expected)
  with pytest.raises(errors.UsageError, match="from_logits = False, but a net gives logits"):
    addons.OfLogits("SigmoidFocalCrossEntropy", FOCAL | {"from_logits": False})
