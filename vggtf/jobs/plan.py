"""--job=plan: what a training step will compute and need, without data, devices or running it."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from vggtf import errors
from vggtf import workdir as workdirs
from vggtf.data import shards
from vggtf.reports import listing
from vggtf.reports import plan as report
from vggtf.training import assembly, fitting, liveness, lowering, tpu_compiler, traced_layers
from vggtf.training import program as programs

_log = logging.getLogger(__name__)

_TRAIN = "vggtf.jobs.train.run"
_PARTS = ("model", "loss", "weight_decay", "optimizer", "schedule", "feed", "step")
_TILE = 8  # TPUs compute numbers in eights of rows: a batch between two multiples is no cheaper


class Configuration(Protocol):
  """What the configuration knows of a call; vggtf/config.py."""

  def arguments(self, called: Callable | str) -> Mapping[str, Any]:
    """Returns the defaults and bindings that a call would get."""


def run(
  configuration: Configuration,
  data_dir: str | None = None,
  workdir: str | None = None,
  classes: int = 1000,
  mean_rgb: Sequence[float] = (123.68, 116.779, 103.939),
  replicas: int | None = None,
  topology: str | None = None,
  largest_batch: bool = False,
) -> None:
  """Prints operations, memory, and sums over replicas of the step that --job=train would take.

  With a topology a TPU's compiler is asked too, which takes a minute or more for each batch size.

  Args:
    configuration: that of the training.
    data_dir: a converted data set, whose classes are used.
    workdir: a run's folder, whose classes are used.
    classes: how many, without either; ImageNet's by default.
    mean_rgb: levels of 0..255, without either; ImageNet's by default.
    replicas: among how many the batch is divided; all devices of the topology, or 1 without one.
    topology: TPUs by name, such as "v5e:2x4"; needs the extra tpu-plan.
    largest_batch: whether to look for the largest batch that fits.

  Raises:
    UsageError: a part is configured so that it cannot work, or cannot be compiled for a device.
    EnvironmentFault: the extra is missing.
  """
  if largest_batch and topology is None:
    raise errors.UsageError("plan.run.largest_batch needs plan.run.topology: bind it as well")
  parts = configuration.arguments(_TRAIN)
  if missing := [name for name in _PARTS if name not in parts]:
    raise errors.UsageError(
      f"--job=plan needs {', '.join(missing)} of train.run: give a configuration, such as "
      "--gin_file=gin/vgg16.gin"
    )
  if workdir is not None:
    facts = workdirs.Workdir(workdir).read_facts()
    classes, mean_rgb = len(facts.labels), facts.mean_rgb
  elif data_dir is not None:
    found = shards.read_manifest(data_dir)
    classes = len(found.labels)  # the mean, which not every set has, changes nothing here
  feed = configuration.arguments(parts["feed"])
  batch_size = feed.get("batch_size")
  if batch_size is None:
    raise errors.UsageError(f"{parts['feed'].__name__} has no batch_size to plan for: bind it")
  chips = tpu_compiler.Topology(topology) if topology else None
  if replicas is None:
    replicas = chips.devices if chips else 1
  if replicas < 1 or (chips and replicas > chips.devices):
    most = f"1 to {chips.devices}, the devices of {topology}" if chips else "at least 1"
    raise errors.UsageError(f"plan.run.replicas = {replicas}: expected {most}")

  planned = Planned(parts, classes, mean_rgb, replicas, feed.get("boxes", False))
  step, hlo = planned.step(batch_size)
  net = planned.net
  print(
    f"{type(net).__name__}, {classes} classes, images of {net.input_size}x{net.input_size}; "
    f"{batch_size} images a step, divided by {replicas}: {batch_size // replicas} on a device"
  )
  print(listing.text(report.of_step(step)))
  if step.host_operations or step.changing_shapes:
    _log.warning("the step needs the host, or has no fixed sizes: no TPU takes it")
  if chips:
    slices = configuration.arguments(parts["step"]).get("slices", 1)
    multiple = math.lcm(_TILE, slices) if largest_batch else None
    _print_compiled(chips, planned, batch_size, hlo, multiple)


class Planned:
  """The parts of a training, and its step for any batch size.

  Attributes:
    net: the net.
    replicas: among how many a batch is divided.
  """

  def __init__(
    self,
    parts: Mapping[str, Any],
    classes: int,
    mean_rgb: Sequence[float],
    replicas: int,
    boxes: bool = False,
  ):
    self.replicas, self._boxes = replicas, boxes
    self._parts, self._strategy = parts, lowering.OneOfMany(replicas)
    self._built = assembly.assemble(
      self._strategy,
      functools.partial(parts["model"], classes=classes, mean_rgb=mean_rgb),
      parts["optimizer"],
      parts["schedule"],
      parts["weight_decay"],
      parts.get("averaging"),
    )
    self.net = self._built.net

  def lower(self, batch_size: int) -> lowering.Lowered:
    """Returns the program of a replica's part of a step."""
    built = self._built
    step = self._parts["step"](
      self._strategy,
      self.net,
      self._parts["loss"](),
      built.weight_decay,
      built.optimizer,
      built.schedule,
      built.step,
      batch_size,
      self._parts["seed"],
      built.averaging,
    )
    examples = batch_size // self.replicas
    return lowering.lower(step.take_one, examples, self.net.input_size, self._boxes)

  def step(self, batch_size: int) -> tuple[report.Step, bytes]:
    """Returns what a step of this size needs, and its program."""
    hlo = self.lower(batch_size).hlo
    program = programs.Program(hlo)
    layers = traced_layers.trace(self.net).layers
    images = batch_size // self.replicas
    sums, sum_bytes = program.sums()
    needed = report.Step(
      parameters=sum(math.prod(one.shape) for one in self.net.trainable_variables),
      multiply_adds=program.multiply_adds(),
      forward_multiply_adds=images * sum(layer.multiply_adds for layer in layers),
      sums=sums,
      sum_bytes=sum_bytes,
      host_operations=program.host_operations(),
      changing_shapes=program.changing_shapes(),
      weights=_bytes(self.net.variables),
      gradients=_bytes(self.net.trainable_variables),
      slots=_bytes(self._built.optimizer.variables),
      averages=_bytes(self._built.averaging.variables) if self._built.averaging else 0,
      batch=images * (3 * self.net.input_size**2 + 8 + 16 * self._boxes),
      activations=images * sum(layer.activation_bytes for layer in layers),
      arguments=program.argument_bytes(),
      temporaries=liveness.temporary_bytes(program),
    )
    return needed, hlo


def _print_compiled(
  chips: tpu_compiler.Topology,
  planned: Planned,
  batch_size: int,
  hlo: bytes,
  multiple: int | None,
) -> None:
  """Prints what the chips' compiler says of the step.

  Args:
    chips: where it would run.
    planned: makes it for other batch sizes.
    batch_size: of the step.
    hlo: its program.
    multiple: of which the largest batch of a device is looked for; None looks for none.
  """
  images = batch_size // planned.replicas
  heading = f"compiled for {chips.name}, {chips.devices} devices of the kind {chips.kind}"
  _log.info("compiling for %s; this takes a minute or more", chips.name)
  try:
    compiled = chips.compile(hlo, planned.replicas)
    rows = report.of_compiled(compiled, chips.available_bytes())
  except tpu_compiler.DoesNotFit as error:
    compiled, rows = None, [("memory", f"{images} images on a device do not fit: {error}")]
  print("\n" + listing.text({heading: rows}), flush=True)
  if multiple is None:
    return

  def fits(count: int) -> bool:
    if count == images:
      return compiled is not None
    _log.info("trying %d images on each device", count)
    try:
      chips.compile(planned.lower(count * planned.replicas).hlo, planned.replicas)
    except tpu_compiler.DoesNotFit:
      return False
    return True

  fit, too_many = fitting.largest(fits, images, multiple)
  print(
    f"  largest batch  {fit * planned.replicas:,} images, {fit} on each device; {too_many} on each "
    "do not fit"
  )


def _bytes(variables: Iterable[tf.Variable]) -> int:
  return sum(math.prod(one.shape) * one.dtype.size for one in variables)
