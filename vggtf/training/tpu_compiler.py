"""A TPU's compiler, asked what it makes of a program; no TPU is needed, only JAX and libtpu.

JAX has no public way from HLO to a compiler, so that what is not public is called here: the extra
`tpu-plan` pins the version that was tried.
"""

from __future__ import annotations

import dataclasses
import os
import re
from types import ModuleType

from vggtf import errors
from vggtf.training import program as programs
from vggtf.training import stablehlo

EXTRA = "vggtf[tpu-plan]"
_VERSION = "0.10.2"
# Of each kind the smallest machine; more chips by other numbers, such as v5e:2x4 or v4:2x2x4.
TOPOLOGIES = ("v2:2x2", "v3:2x2", "v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1")
# Cycles a second of a core, by JAX's name of its kind: Google's published clocks. The newest has
# published none.
_CLOCKS = {
  "TPU v2": 0.70e9,
  "TPU v3": 0.94e9,
  "TPU v4": 1.05e9,
  "TPU v5 lite": 1.5e9,
  "TPU v5": 1.75e9,
  "TPU v6 lite": 1.75e9,
}
# libtpu asks the machine that it is on for these, and complains where that is no TPU's.
_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_WORKER_ID": "0",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "JAX_PLATFORMS": "cpu",
}
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_AVAILABLE = re.compile(r"exceeds available HBM \(([\d.]+)([KMGT]?)\)|of ([\d.]+)([KMGT]?)B? hbm")


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler says of a program on one device.

  Attributes:
    hbm_bytes: all that it takes: arguments, results, temporaries and code.
    code_bytes: of them the code.
    temporary_bytes: of them what lives only during the step.
    floating_point_operations: as the compiler counts them.
    seconds: the compiler's own estimate; None without one. It leaves out some operations and what
      the devices tell one another: a figure for comparing plans, not for promising a speed.
    sums: how many sums over the devices there are, after the compiler packed them.
    sum_bytes: that go into them.
  """

  hbm_bytes: int
  code_bytes: int
  temporary_bytes: int
  floating_point_operations: float
  seconds: float | None
  sums: int
  sum_bytes: int


class DoesNotFit(Exception):
  """The program needs more memory than a device has; the message is the compiler's."""


class Topology:
  """TPUs of one kind, of which none needs to be there.

  Attributes:
    name: such as "v5e:2x4".
    kind: JAX's name of a device's kind, such as "TPU v5 lite".
    devices: how many; a core each, or a chip where the kind joins its cores.
  """

  def __init__(self, name: str):
    """Finds the topology.

    Raises:
      UsageError: there is none of this name.
      EnvironmentFault: JAX or libtpu is missing, or has another version.
    """
    self._jax = _load()
    from jax.experimental import topologies

    try:
      found = topologies.get_topology_desc(name, platform="tpu").devices
    except self._jax.errors.JaxRuntimeError as error:
      reason = str(error).splitlines()[0]
      raise errors.UsageError(
        f"plan.run.topology = {name!r} is no TPU topology ({reason[:200]}): choose one such as "
        f"{', '.join(TOPOLOGIES)}"
      ) from error
    self.name, self.kind, self.devices = name, found[0].device_kind, len(found)
    self._devices = found

  def available_bytes(self) -> int:
    """Returns what programs may use of a device's memory, found by asking for far too much."""
    import jax.numpy as jnp

    place = self._jax.sharding.SingleDeviceSharding(self._devices[0])
    matrix = self._jax.ShapeDtypeStruct((2**20, 2**20), jnp.float32, sharding=place)
    try:
      self._jax.jit(lambda one: one + one.T).lower(matrix).compile()
    except self._jax.errors.JaxRuntimeError as error:
      if found := available(str(error)):
        return found
      raise
    raise AssertionError("4 TiB fit into a device")

  def compile(self, hlo: bytes, replicas: int) -> Compiled:
    """Compiles a program for the first `replicas` devices.

    Args:
      hlo: a serialized HloModuleProto of one replica.
      replicas: at most `devices`.

    Raises:
      DoesNotFit: the memory of a device is too small.
    """
    from jax._src import compiler
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax

    program, aliases = programs.Program(hlo).without_copies()
    devices = self._devices[:replicas]
    numbers = [[device.id] for device in devices]
    options = compiler.get_compile_options(
      num_replicas=replicas, num_partitions=1, device_assignment=numbers
    )
    try:
      with mlir.make_ir_context():
        compiled = devices[0].client.compile(
          stablehlo.convert(program, aliases, replicas),
          executable_devices=_jax.DeviceList(tuple(devices)),
          compile_options=options,
        )
    except self._jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" in str(error):
        raise DoesNotFit(str(error).splitlines()[0]) from error
      raise
    return self._read(compiled)

  def _read(self, compiled) -> Compiled:
    memory = compiled.get_compiled_memory_stats()
    found = programs.Program(compiled.hlo_modules()[0].as_serialized_hlo_module_proto())
    sums, sum_bytes = found.sums()
    cycles, clock = found.estimated_cycles(), _CLOCKS.get(self.kind)
    return Compiled(
      hbm_bytes=memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      - memory.alias_size_in_bytes
      + memory.temp_size_in_bytes
      + memory.generated_code_size_in_bytes,
      code_bytes=memory.generated_code_size_in_bytes,
      temporary_bytes=memory.temp_size_in_bytes,
      floating_point_operations=compiled.cost_analysis()["flops"],
      seconds=cycles / clock if cycles and clock else None,
      sums=sums,
      sum_bytes=sum_bytes,
    )


def available(message: str) -> int | None:
  """Returns the bytes of a device's memory that a compiler's complaint names; None without any."""
  found = _AVAILABLE.search(message)
  if found is None:
    return None
  number, unit = [group for group in found.groups() if group is not None]
  return int(float(number) * _UNITS[unit])


def _load() -> ModuleType:
  """Returns JAX, with a libtpu that does not look for a TPU."""
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  try:
    import jax
    import libtpu  # noqa: F401  (JAX would look for it only later)
  except ImportError as error:
    raise errors.EnvironmentFault(
      f"plan.run.topology needs JAX and libtpu ({error}): pip install '{EXTRA}'"
    ) from error
  if jax.__version__ != _VERSION:
    raise errors.EnvironmentFault(
      f"plan.run.topology was made for JAX {_VERSION}, and here is {jax.__version__}: pip install "
      f"'{EXTRA}', in an environment of its own where another JAX is needed"
    )
  return jax
