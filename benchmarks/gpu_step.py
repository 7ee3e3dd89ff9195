"""VGG-16's training step on a GPU: the program of --job=train in JAX, beside torch.compile.

  python -m benchmarks.gpu_step export FOLDER [BATCH ...]    where TensorFlow is; no GPU is needed
  python -m benchmarks.gpu_step run FOLDER                   where JAX 0.10.2, torch and a GPU are

The first writes the step's program, bfloat16 with float32 weights, for each batch size. The second
needs no TensorFlow: it runs these programs, and the same net in torch, channels last, compiled, and
prints images a second. Where no GPU is it says so, and ends with 0.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

BATCHES = (32, 64, 128, 256)
WARM_UP, STEPS, ROUNDS = 3, 10, 5
MEAN_RGB = (123.68, 116.779, 103.939)
SMALL = 64  # numbers: a variable of no more is kept with its values, such as the mean RGB
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # net D: channels, convolutions


def main(arguments: Sequence[str]) -> int:
  command, folder, *batches = arguments if len(arguments) > 1 else ("", "")
  if command == "export":
    export(pathlib.Path(folder), [int(one) for one in batches] or BATCHES)
  elif command == "run" and not batches:
    run(pathlib.Path(folder))
  else:
    print(__doc__, file=sys.stderr)
    return 2
  return 0


def export(folder: pathlib.Path, batches: Sequence[int]) -> None:
  """Writes the programs of gin/vgg16.gin with gin/with/bfloat16.gin."""
  from vggtf import config
  from vggtf.jobs import plan, train

  config.parse(["gin/vgg16.gin", "gin/with/bfloat16.gin"], [])
  parts = config.arguments(f"{train.__name__}.run")
  planned = plan.Planned(parts, classes=1000, mean_rgb=MEAN_RGB, replicas=1)
  folder.mkdir(parents=True, exist_ok=True)
  for batch in batches:
    write(folder / f"step-{batch:04}", planned.lower(batch))
    print(f"{folder}/step-{batch:04}: {batch} images")


def write(path: pathlib.Path, lowered) -> None:
  """Writes a step, a `lowering.Lowered`, as <path>.hlo and <path>.json."""
  from vggtf.training import program

  found = program.Program(lowered.hlo)
  hlo, aliases = found.without_copies()
  captured = []
  for one in lowered.values():
    kept = {"shape": one.shape, "dtype": one.dtype.name}
    if one.size <= SMALL:
      kept["value"] = one.tolist()
    captured.append(kept)
  told = {"captured": captured, "aliases": aliases, "results": lowered.results}
  path.with_suffix(".hlo").write_bytes(hlo)
  path.with_suffix(".json").write_text(json.dumps(told) + "\n")


class Step:
  """A step that JAX runs: on the first devices, one replica each.

  Args:
    path: given to `write`.
    devices: of JAX.
  """

  def __init__(self, path: pathlib.Path, devices: Sequence):
    import jax
    from jax._src import compiler
    from jax._src.interpreters import mlir
    from jax._src.lib import _jax

    from vggtf.training import stablehlo

    jax.config.update("jax_enable_x64", True)  # else the step's number would be cut to 32 bits
    self._told = json.loads(path.with_suffix(".json").read_text())
    aliases = {int(number): result for number, result in self._told["aliases"].items()}
    # Results follow one another: what is for the log, then the variables in their order.
    self._changed = [number - 3 for number in sorted(aliases)]
    count = len(devices)
    options = compiler.get_compile_options(
      num_replicas=count, num_partitions=1, device_assignment=[[one.id] for one in devices]
    )
    with mlir.make_ir_context():
      self._run = devices[0].client.compile_and_load(
        stablehlo.convert(path.with_suffix(".hlo").read_bytes(), aliases, count),
        executable_devices=_jax.DeviceList(tuple(devices)),
        compile_options=options,
      )
    mesh = jax.sharding.Mesh(np.array(devices), "replica")
    self._divided = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("replica"))
    self._whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    self.state: list = []

  def draw(self) -> None:
    """Gives the variables values: those kept, noise for kernels, else nothing."""
    random = np.random.RandomState(0)
    values = []
    for one in self._told["captured"]:
      shape, dtype = one["shape"], np.dtype(one["dtype"])
      if "value" in one:
        values.append(np.asarray(one["value"], dtype))
      elif len(shape) < 2:
        values.append(np.zeros(shape, dtype))
      else:
        # So that the net's signal fades rather than grows, and noise is no reason to diverge.
        noise = random.standard_normal(shape) * np.sqrt(1 / np.prod(shape[:-1]))
        values.append(noise.astype(dtype))
    self.set(values)

  def set(self, values: Sequence[np.ndarray]) -> None:
    """Gives the variables, in the order in which they were captured, these values."""
    import jax

    self.state = [jax.device_put(one, self._whole) for one in values]

  def put(self, *batch: np.ndarray) -> list:
    """Returns image, label and weight of a global batch, divided among the devices."""
    import jax

    return [jax.device_put(one, self._divided) for one in batch]

  def __call__(self, batch: Sequence) -> dict:
    """Takes a step and returns what the first replica has for the log; later if still computed."""
    import jax

    found = self._run.execute_sharded([*batch, *self.state]).disassemble_into_single_device_arrays()
    names = self._told["results"]
    for place, arrays in zip(self._changed, found[len(names) :], strict=True):
      self.state[place] = jax.make_array_from_single_device_arrays(
        arrays[0].shape, self._whole, arrays
      )
    return {name: arrays[0] for name, arrays in zip(names, found, strict=False)}


def run(folder: pathlib.Path) -> None:
  """Prints images a second of both for each program of the folder."""
  try:
    import jax
    import torch
  except ImportError as error:
    print(f"gpu_step: nothing is timed: {error}; it wants JAX and torch")
    return
  gpus = [one for one in jax.devices() if one.platform == "gpu"]
  if not gpus or not torch.cuda.is_available():
    print("gpu_step: nothing is timed: JAX and torch find no GPU on this machine")
    return
  print(f"{gpus[0].device_kind}, JAX {jax.__version__}, torch {torch.__version__}; bfloat16")
  print("batch   ours, images/s   torch.compile, images/s   ours / torch (lowest, highest round)")
  for path in sorted(folder.glob("step-*.hlo")):
    batch = int(path.stem.removeprefix("step-"))
    contenders = make_ours(path.with_suffix(""), batch, gpus[:1]), make_torch(batch)
    rounds = [tuple(speed(steps, batch) for steps in contenders) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(one) for one in zip(*rounds, strict=True))
    ratios = [one / other for one, other in rounds]
    print(
      f"{batch:5}   {ours:14,.0f}   {theirs:23,.0f}   {statistics.median(ratios):.2f} "
      f"({min(ratios):.2f}, {max(ratios):.2f})"
    )


def speed(steps: Callable[[int], None], batch: int) -> float:
  """Returns images a second of STEPS steps, after some that do not count."""
  steps(WARM_UP)
  start = time.perf_counter()
  steps(STEPS)
  return STEPS * batch / (time.perf_counter() - start)


def draw(batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns noise as images, uint8 [batch, 224, 224, 3], labels and weights."""
  random = np.random.RandomState(0)
  image = random.randint(0, 256, (batch, 224, 224, 3)).astype(np.uint8)
  return image, random.randint(0, 1000, batch).astype(np.int32), np.ones(batch, np.float32)


def make_ours(path: pathlib.Path, batch: int, devices: Sequence) -> Callable[[int], None]:
  step = Step(path, devices)
  step.draw()
  given = step.put(*draw(batch))

  def take(count: int) -> None:
    for _ in range(count):
      found = step(given)
    found["loss"].block_until_ready()
    step.state[-1].block_until_ready()

  return take


def make_torch(batch: int) -> Callable[[int], None]:
  """Returns steps of the same net, loss, penalty and update in torch."""
  import torch

  layers, inputs = [], 3
  for channels, convolutions in BLOCKS:
    for _ in range(convolutions):
      layers += [torch.nn.Conv2d(inputs, channels, 3, padding=1), torch.nn.ReLU()]
      inputs = channels
    layers.append(torch.nn.MaxPool2d(2))
  layers.append(torch.nn.Flatten())
  for before in (512 * 7 * 7, 4096):
    layers += [torch.nn.Linear(before, 4096), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
  net = torch.nn.Sequential(*layers, torch.nn.Linear(4096, 1000))
  net = net.to("cuda", memory_format=torch.channels_last)
  update = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9, weight_decay=5e-4, fused=True)
  image, label, _ = (torch.from_numpy(one).cuda() for one in draw(batch))
  mean = torch.tensor(MEAN_RGB, device="cuda")

  @torch.compile
  def loss():
    with torch.autocast("cuda", torch.bfloat16):
      logits = net((image.float() - mean).permute(0, 3, 1, 2))
    return torch.nn.functional.cross_entropy(logits.float(), label.long())

  def take(count: int) -> None:
    for _ in range(count):
      update.zero_grad()
      loss().backward()
      update.step()
    torch.cuda.synchronize()

  return take


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
