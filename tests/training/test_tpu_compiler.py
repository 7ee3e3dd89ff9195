import os
import sys
import types

import pytest

from tests.training import parts
from vggtf import errors
from vggtf.training import lowering, program, tpu_compiler


def test_without_the_extra_it_is_named(monkeypatch):
  monkeypatch.setattr(os, "environ", dict(os.environ))
  monkeypatch.setitem(sys.modules, "jax", None)
  with pytest.raises(errors.EnvironmentFault, match=r"pip install 'vggtf\[tpu-plan\]'"):
    tpu_compiler.Topology("v5e:2x2")


def test_another_jax_is_refused_with_the_cure(monkeypatch):
  monkeypatch.setattr(os, "environ", dict(os.environ))
  monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(__version__="0.11.2"))
  monkeypatch.setitem(sys.modules, "libtpu", types.SimpleNamespace())
  with pytest.raises(errors.EnvironmentFault, match=r"made for JAX 0.10.2, and here is 0.11.2"):
    tpu_compiler.Topology("v5e:2x2")


def test_the_memory_that_a_compiler_names_is_read():
  said = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
  said += "temporaries (2.00T) exceeds available HBM (15.75G)."
  assert tpu_compiler.available(said) == 15.75 * 2**30
  assert tpu_compiler.available("Used 26.10G of 7.5G hbm. Exceeded hbm capacity") == 7.5 * 2**30
  assert tpu_compiler.available("INVALID_ARGUMENT: no such thing") is None


@pytest.fixture(scope="module")
def chips():
  """Returns eight devices of a TPU that is not there."""
  pytest.importorskip("jax")
  pytest.importorskip("libtpu")
  return tpu_compiler.Topology("v5e:2x4")


def test_an_unknown_topology_is_told_with_known_ones(chips):
  for name in ("v5e:3x5", "v99:2x2", "nonsense"):
    with pytest.raises(errors.UsageError, match=rf"'{name}' is no TPU topology .*v5e:2x2"):
      tpu_compiler.Topology(name)


def test_a_topology_says_what_it_has(chips):
  assert chips.devices == 8
  assert chips.kind == "TPU v5 lite"
  assert 15 * 2**30 < chips.available_bytes() < 16 * 2**30  # a v5e has 16 GB


@pytest.mark.slow
def test_a_step_is_compiled_for_eight_devices(chips):
  taken = parts.build(lowering.OneOfMany(8), norm="batch", dropout=0.5).take
  lowered = lowering.lower(taken.take_one, parts.BATCH // 8, parts.SIDE)
  compiled = chips.compile(lowered.hlo, 8)
  gradients = 4 * sum(one.shape.num_elements() for one in parts.net().trainable_variables)
  assert 1 <= compiled.sums <= 3  # packed: there are 40 variables
  assert gradients < compiled.sum_bytes < 1.1 * gradients
  given = program.Program(lowered.hlo).argument_bytes()
  # So small a step keeps its temporaries on the chip.
  assert compiled.hbm_bytes >= given + compiled.code_bytes + compiled.temporary_bytes
  assert compiled.code_bytes > 0
  assert compiled.floating_point_operations > 1e6
  assert 1e-6 < compiled.seconds < 1


@pytest.mark.slow
def test_what_does_not_fit_is_an_answer(chips):
  taken = parts.build(lowering.OneOfMany(1)).take
  huge = lowering.lower(taken.take_one, 2**21, parts.SIDE)  # 32 GiB for the first layer's output
  with pytest.raises(tpu_compiler.DoesNotFit, match="exceed"):
    chips.compile(huge.hlo, 1)
