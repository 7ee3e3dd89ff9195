"""The adapter against TensorFlow Addons by itself, and what its rules remember."""

import functools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers import updates
from vggtf import addons as installed
from vggtf import errors
from vggtf.optimizers import addons

ROOT = pathlib.Path(__file__).parents[2]
RATES = [0.01] * 4 + [0.001] * 4
LOOKAHEAD = (("Lookahead", {"sync_period": 3}),)
AVERAGE = (("MovingAverage", {"average_decay": 0.9}),)
RULES = {
  "SGDW": {"rule": "SGDW", "options": {"weight_decay": 1e-3, "momentum": 0.9}},
  "LAMB": {"rule": "LAMB", "options": {"weight_decay": 0.01}},
  "Lookahead(SGD)": {"rule": "SGD", "options": {"momentum": 0.9}, "wrappers": LOOKAHEAD},
  "MovingAverage": {"rule": "SGD", "options": {"momentum": 0.9}, "wrappers": AVERAGE},
  "MovingAverage(Lookahead(LAMB))": {"rule": "LAMB", "wrappers": (*LOOKAHEAD, *AVERAGE)},
  "SWA": {"rule": "SGD", "wrappers": (("SWA", {"start_averaging": 2, "average_period": 2}),)},
  "AdamW": {"rule": "AdamW", "options": {"weight_decay": 1e-3}},
  **{
    name: {"rule": name}
    for name in (
      "AdaBelief", "COCOB", "ConditionalGradient", "LazyAdam", "NovoGrad", "ProximalAdagrad",
      "RectifiedAdam", "Yogi", "Adam",
    )
  },
}  # fmt: skip
RULES["ConditionalGradient"]["options"] = {"lambda_": 10.0}


def theirs(rule, options=None, wrappers=()):
  """Returns the rule as its own documentation builds it, and the variable of its rate."""
  tfa, legacy = installed.load(), tf.keras.optimizers.legacy
  rate = tf.Variable(0.0)
  arguments = {} if rule == "COCOB" else {"learning_rate": lambda: rate}
  kind = getattr(tfa.optimizers, rule, None) or getattr(legacy, rule)
  optimizer = kind(**arguments, **(options or {}))
  for name, wrapped in wrappers:
    optimizer = getattr(tfa.optimizers, name)(optimizer, **wrapped)
  return optimizer, rate


@pytest.mark.parametrize("rule", RULES)
def test_updates_are_those_of_addons_at_the_rate_of_the_step(rule):
  gradients = updates.draw(8)
  expected = updates.variables()
  optimizer, rate = theirs(**RULES[rule])
  for step, value in zip(gradients, RATES, strict=True):
    rate.assign(value)
    given = [tf.constant(one, tf.float32) for one in step]
    optimizer.apply_gradients(zip(given, expected, strict=True))
  constructor = functools.partial(addons.Optimizer, **RULES[rule])
  for form in updates.FORMS:
    found = updates.run(constructor, gradients, RATES, **form)
    for ours, other, first in zip(found, expected, updates.draw()[0], strict=True):
      assert not np.array_equal(ours, first.astype(np.float32))
      np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(rule, tmp_path):
  gradients = [[tf.constant(one, tf.float32) for one in step] for step in updates.draw(8)]

  class Parts:
    def __init__(self):
      self.variables = updates.variables()
      self.optimizer = addons.Optimizer(**RULES[rule])
      self.optimizer.build(self.variables)
      self.state = tf.train.Checkpoint(variables=self.variables, optimizer=self.optimizer)
      self.apply = tf.function(self.optimizer.apply)

    def train(self, first, last):
      for step in range(first, last):
        self.apply(gradients[step], tf.constant(RATES[step]))
      return [one.numpy() for one in (*self.variables, *self.optimizer.slots)]

  whole = Parts().train(0, 8)
  stopped, resumed = Parts(), Parts()
  stopped.train(0, 4)  # Lookahead is between two synchronisations
  path = stopped.state.write(str(tmp_path / "state"))
  resumed.state.read(path).assert_consumed()
  assert len(resumed.optimizer.slots) == len({id(one) for one in resumed.optimizer.slots})
  for found, expected in zip(resumed.train(4, 8), whole, strict=True):
    np.testing.assert_array_equal(found, expected)


def decayed(rate, **options):
  variable = tf.Variable([[1.0, 2.0]], name="fc8/weights")
  optimizer = addons.Optimizer("SGDW", **options)
  optimizer.build([variable])
  optimizer.apply([tf.zeros((1, 2))], tf.constant(rate))
  return variable.numpy()[0, 0]


def test_decay_follows_the_rate_where_asked_to():
  assert decayed(0.5, options={"weight_decay": 0.1}) == pytest.approx(0.9)
  assert decayed(0.05, options={"weight_decay": 0.1}) == pytest.approx(0.9)
  assert decayed(0.5, weight_decay_per_rate=0.1) == pytest.approx(0.95)
  assert decayed(0.05, weight_decay_per_rate=0.1) == pytest.approx(0.995)


@pytest.mark.parametrize(
  ("decays", "arguments"),
  [
    (True, {"rule": "LAMB", "options": {"weight_decay": 0.01}}),
    (True, {"rule": "SGDW", "weight_decay_per_rate": 0.1}),
    (False, {"rule": "SGDW", "options": {"weight_decay": 0.0}}),
    (False, {"rule": "LAMB"}),
  ],
)
def test_whether_it_decays_is_known(decays, arguments):
  assert addons.Optimizer(**arguments).decays_weights is decays


def test_a_misspelt_rule_is_refused_with_the_closest():
  with pytest.raises(errors.UsageError, match=r"'LAMP' is no rule.*Did you mean LAMB\?"):
    addons.Optimizer("LAMP")
  with pytest.raises(errors.UsageError, match=r"'Lookahed' is no rule.*Did you mean Lookahead\?"):
    addons.Optimizer("SGD", wrappers=(("Lookahed", {}),))


def test_wrong_options_are_refused():
  with pytest.raises(errors.UsageError, match=r"LAMB does not take these options.*wait_decay"):
    addons.Optimizer("LAMB", {"wait_decay": 0.1})


def test_without_keras_2_the_cure_is_told():
  code = "from vggtf.optimizers import addons\naddons.Optimizer('LAMB')"
  reply = subprocess.run(
    [sys.executable, "-c", code],
    cwd=ROOT,
    env={**os.environ, "TF_USE_LEGACY_KERAS": "0"},
    capture_output=True,
    text=True,
  )
  assert "EnvironmentFault" in reply.stderr
  assert "set it before Python starts" in reply.stderr


def test_where_it_is_not_installed_the_cure_is_told(monkeypatch):
  monkeypatch.delitem(sys.modules, "tensorflow_addons", raising=False)
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(errors.EnvironmentFault, match=r"pip install 'vggtf\[addons\]'"):
    addons.Optimizer("LAMB")
