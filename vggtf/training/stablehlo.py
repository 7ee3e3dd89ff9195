"""A program of XLA (HLO) as the StableHLO module that JAX's compilers take; no TensorFlow here.

JAX has no public way for this; the extra `tpu-plan` pins the version whose calls these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType


def convert(hlo: bytes, aliases: Mapping[int, int], replicas: int = 1):
  """Returns the module, in the MLIR context that is entered.

  Args:
    hlo: a serialized HloModuleProto, without copies (`program.without_copies`).
    aliases: the result that takes a parameter's place, by the parameter's number.
    replicas: that run it together.
  """
  from jax._src.lib import _jax
  from jax._src.lib.mlir import ir

  module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(hlo))
  attributes = module.operation.attributes
  for name in [one for one in attributes if one.startswith("mhlo.")]:
    del attributes[name]
  attributes["mhlo.num_replicas"] = _integer(ir, replicas)
  attributes["mhlo.num_partitions"] = _integer(ir, 1)
  (main,) = (
    one.operation
    for one in module.body.operations
    if ir.StringAttr(one.operation.attributes["sym_name"]).value == "main"
  )
  places = [
    {"tf.aliasing_output": _integer(ir, aliases[number])} if number in aliases else {}
    for number in range(len(main.regions[0].blocks[0].arguments))
  ]
  main.attributes["arg_attrs"] = ir.ArrayAttr.get([ir.DictAttr.get(one) for one in places])
  return module


def _integer(ir: ModuleType, value: int):
  return ir.IntegerAttr.get(ir.IntegerType.get_signless(32), value)
