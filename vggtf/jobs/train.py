"""--job=train: trains, evaluates as it goes, and resumes where an earlier command stopped."""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts, errors, metrics
from vggtf import workdir as workdirs
from vggtf.data import shards
from vggtf.training import checkpoint, hooks, loop, step, stopping
from vggtf.training import strategy as strategies

_log = logging.getLogger(__name__)


def run(
  workdir: str,
  data_dir: str,
  configuration: contracts.Configuration,
  model: Callable[..., contracts.Model],
  loss: Callable[[], contracts.Loss],
  weight_decay: Callable[[], contracts.WeightDecay],
  optimizer: Callable[[], contracts.Optimizer],
  schedule: Callable[[], contracts.Schedule],
  feed: Callable[..., contracts.Feed],
  evaluator: Callable[[contracts.Model, str], contracts.Evaluator],
  strategy: Callable[[], tf.distribute.Strategy],
  steps: int,
  evaluate_every: int,
  checkpoint_every: int,
  log_every: int = 50,
  steps_per_call: int = 50,
  keep_checkpoints: int = 3,
  jit_compile: bool | str = "auto",
  seed: int = 0,
  allow_config_change: bool = False,
) -> None:
  """Trains a net. The parts are constructors: they are called inside the strategy's scope.

  Args:
    workdir: the run's folder; a run begun there goes on from its newest checkpoint.
    data_dir: a converted data set.
    configuration: kept beside the checkpoints.
    model: called with `classes` and `mean_rgb`, which the data decides.
    loss: of an example.
    weight_decay: added to the summed gradients.
    optimizer: the update rule.
    schedule: its learning rate.
    feed: the training batches; called with `data_dir`, `side` and `seed`.
    evaluator: measures the validation error; called with the net and `data_dir`.
    strategy: where it all runs.
    steps: how long to train; 0 saves the net as it is drawn.
    evaluate_every: steps between validations; a plateau schedule hears of each.
    checkpoint_every: steps between checkpoints.
    log_every: steps between lines on the console and points in TensorBoard.
    steps_per_call: how many steps run at most before the host looks again, for a signal too.
    keep_checkpoints: how many of the newest are kept, beside the best.
    jit_compile: XLA for the gradients: True, False, or "auto" (not on a CPU).
    seed: of the images' order and views, and of dropout.
    allow_config_change: whether to resume although the configuration is another.

  Raises:
    Preempted: a signal asked to stop, and a checkpoint was saved.
  """
  _check_counts(
    evaluate_every=evaluate_every,
    checkpoint_every=checkpoint_every,
    log_every=log_every,
    steps_per_call=steps_per_call,
  )
  folder = workdirs.Workdir(workdir)
  checkpoints = checkpoint.Checkpoints(folder.checkpoints, keep_checkpoints)
  facts = _facts(data_dir)
  if checkpoints.any():
    _check_same(folder, configuration.text(), facts, allow_config_change)
  workdirs.write_text(folder.config, configuration.text())
  folder.write_facts(facts)

  strategy = strategy()
  with strategy.scope():
    net = model(classes=len(facts.labels), mean_rgb=facts.mean_rgb)
    update, rate, decay = optimizer(), schedule(), weight_decay()
    update.build(net.trainable_variables)
    done = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
  feed = feed(data_dir=data_dir, side=net.input_size, seed=seed)
  evaluator = evaluator(net, data_dir)
  take_steps = step.TrainStep(
    strategy,
    net,
    loss(),
    decay,
    update,
    rate,
    done,
    feed.batch_size,
    seed,
    step.compiles(jit_compile),
  )
  workdirs.write_text(folder.operative_config, configuration.operative_text())

  state = tf.train.Checkpoint(model=net, optimizer=update, schedule=rate, step=done)
  first = checkpoints.restore_newest(state) or 0
  if steps == 0:
    checkpoints.save(state, 0)
  if first >= steps:
    _log.info("nothing to do: %s holds step %d of %d", folder.checkpoints, first, steps)
    return
  _log.info("training from step %d to %d in %s", first, steps, folder.path)

  def save(at: int, error: float | None = None) -> None:
    checkpoints.save(state, at, error)

  board = hooks.TensorBoard(folder.logs / "train", log_every)
  board.text("config", configuration.text(), first)
  board.text("operative_config", configuration.operative_text(), first)
  validation = hooks.TensorBoard(folder.logs / "validation", evaluate_every)

  def tell(at: int, measured: dict[str, metrics.Mean]) -> None:
    validation.scalars({name: mean.value for name, mean in measured.items()}, at)
    folder.append_results(
      workdirs.result_lines("train", folder.name, at, evaluator.protocol, measured)
    )
    _log.info(
      "step %d: validation top-1 error %.2f %%, top-5 error %.2f %% (%s)",
      at,
      100 * measured["top1_error"].value,
      100 * measured["top5_error"].value,
      evaluator.protocol,
    )

  measure = hooks.Evaluate(evaluate_every, evaluator, tell, getattr(rate, "observe", None))
  between = [
    hooks.StopOnNonFinite(),
    hooks.WarnStuck(len(facts.labels)),
    hooks.Console(log_every, first, steps),
    board,
    measure,
    hooks.SaveCheckpoint(checkpoint_every, save, measure),
  ]
  batches = strategies.distribute(strategy, feed.batches(first_step=first))
  with stopping.StopRequest() as stop:
    try:
      reached = loop.run(
        lambda count: take_steps(batches, count),
        first,
        steps,
        between,
        feed.batch_size,
        steps_per_call,
        stop,
      )
    except tf.errors.ResourceExhaustedError as error:
      raise errors.EnvironmentFault(
        f"out of memory with batches of {feed.batch_size} images on {strategy.num_replicas_in_sync}"
        " devices; lower the batch size, or use more devices"
      ) from error
    except tf.errors.OpError:
      feed.raise_failure()
      raise
    if reached < steps:
      save(reached)
      raise errors.Preempted(
        f"checkpoint of step {reached} saved in {folder.checkpoints}; the same command goes on "
        "from it"
      )


def _facts(data_dir: str) -> workdirs.RunFacts:
  """Returns what the data decides of a run."""
  found = shards.read_manifest(data_dir)
  if not found.statistics:
    raise errors.UsageError(f"{data_dir} has no training split, so no mean RGB; convert one")
  return workdirs.RunFacts(
    labels=tuple(text for _, text in found.labels),
    mean_rgb=found.statistics.mean_rgb,
    data_dir=data_dir if "://" in data_dir else os.path.abspath(data_dir),
    manifest_sha256=hashlib.sha256(found.to_json().encode()).hexdigest(),
    splits=found.splits,
    rejected=found.rejected,
  )


def _check_counts(**counts: int) -> None:
  """Raises UsageError for a number of steps that is none."""
  for name, count in counts.items():
    if count < 1:
      raise errors.UsageError(f"train.run.{name} = {count}: expected at least 1 step")


def _check_same(
  folder: workdirs.Workdir, text: str, facts: workdirs.RunFacts, allow_config_change: bool
) -> None:
  """Raises UsageError where a run that has checkpoints would go on as another one."""
  kept = folder.config.read_text() if folder.config.exists() else text
  if kept != text and not allow_config_change:
    diff = "\n".join(
      difflib.unified_diff(kept.splitlines(), text.splitlines(), "kept", "given", n=0, lineterm="")
    )
    raise errors.UsageError(
      f"the run in {folder.path} has another configuration; take another --workdir, or allow it "
      f"with --gin_param='train.run.allow_config_change = True'\n{diff}"
    )
  before = folder.read_facts() if folder.facts.exists() else facts
  if before.manifest_sha256 != facts.manifest_sha256:
    raise errors.UsageError(
      f"the run in {folder.path} was trained on {before.data_dir}, {facts.data_dir} holds other "
      "data; take another --workdir"
    )
