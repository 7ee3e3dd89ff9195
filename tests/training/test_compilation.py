"""Which parts of a step are compiled."""

import functools

import pytest
import tensorflow as tf

from vggtf import errors
from vggtf.optimizers import adamw, groups, sgd
from vggtf.training import compilation


def test_xla_is_chosen_by_a_plain_word():
  assert compilation.compiles(True) is True
  assert compilation.compiles(False) is False
  if not tf.config.list_physical_devices("GPU"):
    assert compilation.compiles("auto") is False
  for wrong in ("yes", None, 1, "True"):
    with pytest.raises(errors.UsageError, match=r"expected True, False or 'auto'"):
      compilation.compiles(wrong)


class Whole(sgd.SGD):
  elementwise = False  # as one that takes norms


@pytest.mark.parametrize("jit_compile", [True, False, "auto"])
def test_large_nets_are_updated_in_one_pass_on_a_cpu(jit_compile, monkeypatch):
  variables = [tf.Variable(tf.zeros((3, 4)), name="a"), tf.Variable(tf.zeros(4), name="b")]
  fuses = functools.partial(compilation.fuses, jit_compile, variables=variables)
  assert not fuses(sgd.SGD())
  monkeypatch.setattr(compilation, "LARGE", 16)
  expected = jit_compile is not False and not tf.config.list_physical_devices("GPU")
  assert fuses(sgd.SGD()) == fuses(adamw.AdamW()) == expected
  assert not fuses(Whole())
  for rule in (sgd.SGD, Whole):
    grouped = groups.ByName(rule, {"a": 0.5})
    grouped.build(variables)
    assert fuses(grouped) == (expected and rule.elementwise)
