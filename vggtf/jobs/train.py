"""--job=train: trains, evaluates as it goes, and resumes where an earlier command stopped."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable

import tensorflow as tf

from vggtf import contracts, errors, metrics, results
from vggtf import workdir as workdirs
from vggtf.data import pipeline, shards
from vggtf.training import (
  agreement,
  assembly,
  checkpoint,
  cluster,
  deadline,
  divergence,
  failures,
  hooks,
  loop,
  magnitudes,
  saving,
  stopping,
  surroundings,
  watching,
)
from vggtf.training import averaging as averages
from vggtf.training import step as training_step
from vggtf.training import strategy as strategies

_log = logging.getLogger(__name__)

_SEEDS = 2**31  # what a step's int32 holds


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
  step: Callable[..., training_step.TrainStep],
  steps: int,
  evaluate_every: int,
  checkpoint_every: int,
  log_every: int = 50,
  steps_per_call: int = 50,
  keep_checkpoints: int = 3,
  seed: int = 0,
  allow_config_change: bool = False,
  require_checkpoint: bool = False,
  initial: Callable[[contracts.Model], str] | None = None,
  averaging: Callable[[], averages.ExponentialMovingAverage] | None = None,
  weights: str = "raw",
  report_magnitudes: bool = True,
  step_deadline: float | None = None,
  watch: Callable[..., watching.Watch] = watching.Watch,
  profile_steps: str | None = None,
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
    step: makes a step of these parts.
    steps: how long to train; 0 saves the net as it is drawn.
    evaluate_every: steps between validations; a plateau schedule hears of each.
    checkpoint_every: steps between checkpoints.
    log_every: steps between lines on the console and points in TensorBoard.
    steps_per_call: how many steps run at most before the host looks again, for a signal too.
    keep_checkpoints: how many of the newest are kept, beside the best.
    seed: of the images' order and views, and of dropout.
    allow_config_change: whether to resume although the configuration is another.
    require_checkpoint: whether to go on only, and never to begin.
    initial: gives a net that was just drawn other weights, such as those of a trained one, and
      returns a report of it, which goes to the log and into the run's folder; not called where a
      run goes on.
    averaging: of the weights over the steps; None keeps no averages.
    weights: whose validation error is measured: "raw", or "ema" for the averages.
    report_magnitudes: whether activations and gradients are measured before the first step.
    step_deadline: seconds that a step may take; the process ends when a block of steps takes longer
      than its steps together; the first, which compiles, has 10 minutes more. None is any time.
    watch: what TensorBoard shows beside the curves.
    profile_steps: which steps TensorFlow's profiler records, such as "100:110"; the flag's.

  Raises:
    UsageError: a part is configured so that it cannot work, alone or with another.
    IntegrityError: a record or every checkpoint is damaged, the training images end early, or
      there is no checkpoint although one is required.
    EnvironmentFault: another process trains in this folder, or the machine cannot do it.
    DivergedError: the loss is not finite; the state is kept apart from the checkpoints.
    PeerError: another process of the cluster was lost.
    Preempted: a signal asked to stop, and a checkpoint was saved.
  """
  _check_counts(
    evaluate_every=evaluate_every,
    checkpoint_every=checkpoint_every,
    log_every=log_every,
    steps_per_call=steps_per_call,
  )
  if steps < 0:
    raise errors.UsageError(f"train.run.steps = {steps}: expected 0 steps or more")
  if not 0 <= seed < _SEEDS:
    raise errors.UsageError(f"train.run.seed = {seed}: expected 0 to {_SEEDS - 1}")
  averages.check_choice("train.run.weights", weights)
  if weights == averages.EMA and averaging is None:
    raise errors.UsageError("train.run.weights = 'ema' needs train.run.averaging: bind it as well")
  folder = workdirs.Workdir(workdir)
  strategy = strategy()
  # First of all, so that what is wrong with one process is told to the others, and none waits.
  with (
    strategies.together(strategy) as peers,
    stopping.StopRequest(peers) as stop,
    folder.claimed(),
  ):
    cluster.check_used(len(peers.names))
    facts = _facts(data_dir)
    checkpoints = checkpoint.Checkpoints(folder.checkpoints, keep_checkpoints)
    if require_checkpoint and not checkpoints.any():
      raise errors.IntegrityError(
        f"--require_checkpoint, but {folder.checkpoints} holds none; bring the run's checkpoints "
        "back, or begin it without that flag"
      )
    folder.begin(configuration.text(), facts, allow_config_change)
    agreement.require(
      peers,
      configurations=configuration.text(),
      data=facts.manifest_sha256,
      code=surroundings.digest_code(),
    )
    attempts = agreement.attempts(peers, keep_checkpoints)
    held = agreement.newest_step(peers, checkpoints.sound_steps())

    def draw() -> contracts.Model:
      net = model(classes=len(facts.labels), mean_rgb=facts.mean_rgb)
      if initial and held is None:
        report = initial(net)
        _log.info("initial weights: %s", report)
        workdirs.write_text(folder.initial, report + "\n")
      return net

    net, update, rate, decay, average, done = assembly.assemble(
      strategy, draw, optimizer, schedule, weight_decay, averaging
    )
    loss = loss()
    feed = feed(data_dir=data_dir, side=net.input_size, seed=seed)
    evaluator = evaluator(net, data_dir)
    take_steps = step(
      strategy, net, loss, decay, update, rate, done, feed.batch_size, seed, average
    )
    workdirs.write_text(folder.operative_config, configuration.operative_text())

    finite = {"model": net, "optimizer": update, **({"averaging": average} if average else {})}
    scale = {"loss_scale": take_steps.loss_scale} if take_steps.loss_scale else {}
    state = tf.train.Checkpoint(schedule=rate, step=done, **finite, **scale)
    first = held or 0
    if held is None:
      checkpoints.set_aside(after=-1)
    else:
      checkpoints.restore(state, held)
    measured = checkpoints.error(first) is not None
    unmeasured = first > 0 and (first % evaluate_every == 0 or first == steps)
    unmeasured = unmeasured and not all(peers.exchange(measured))  # in one of them, and so in all
    if first >= steps > 0 and not unmeasured:
      _log.info("nothing to do: %s holds step %d of %d", folder.checkpoints, first, steps)
      return
    folder.describe(
      {"first_step": first, **surroundings.describe(strategy)},
      configuration.text(),
      configuration.origins(),
      seed=seed,
      steps=steps,
    )
    if steps == 0:
      checkpoints.save(state, 0)
      _log.info("the net is in %s as it was drawn", folder.checkpoints)
      return
    _log.info("training from step %d to %d in %s", first, steps, folder.path)

    board = hooks.TensorBoard(folder.logs / "train", log_every)
    board.text("config", configuration.text(), first)
    board.text("operative_config", configuration.operative_text(), first)
    protocol = evaluator.protocol + averages.REMARK[weights]
    tell = _teller(folder, protocol, evaluate_every, getattr(feed, "damage", None))
    in_place = average.in_place if weights == averages.EMA else contextlib.nullcontext

    measure_share = functools.partial(evaluator, **agreement.share(peers))

    def validate() -> dict[str, metrics.Mean]:
      with in_place():
        return agreement.measurement(peers, functools.partial(stop.unless_asked, measure_share))

    observe, heard = getattr(rate, "observe", None), first if measured else None
    measure = hooks.Evaluate(evaluate_every, validate, tell, observe, heard)
    save = saving.SaveCheckpoint(
      checkpoint_every, steps, state, checkpoints.save, measure, attempts
    )
    keep = divergence.keeper(checkpoints, state, feed, save.wait)
    watch = watch(board, net, feed)
    between = [
      divergence.StopOnNonFinite(first, keep, **finite),
      *watch.hooks(log_every, first, steps, profile_steps),
      measure,
      save,
    ]
    batches = strategies.distribute(
      strategy, functools.partial(feed.batches, first), feed.batch_size
    )
    stop.notify(take_steps.stop_soon)
    with save, pipeline.named_failures(feed):
      with failures.named(feed, strategy.num_replicas_in_sync, steps):
        if report_magnitudes and first == 0:
          batch = next(iter(feed.batches(first_step=0)))
          watch.show(batch, 0)
          magnitudes.report(net, loss, batch, board)
        reached, stopped = loop.run(
          deadline.limit(functools.partial(take_steps.block, batches), step_deadline),
          first,
          steps,
          between,
          feed.batch_size,
          steps_per_call,
          left_over=[measure, save] if unmeasured else [],
        )
      if stopped:
        save.finish(reached)
        raise errors.Preempted(
          f"checkpoint of step {reached} saved in {folder.checkpoints}; the same command goes on "
          "from it"
        )
    measure.raise_failures()


def _teller(
  folder: workdirs.Workdir,
  protocol: str,
  every: int,
  damage: Callable[[], tuple[int, int]] | None,
) -> Callable[[int, dict], None]:
  """Returns what spreads a validation: TensorBoard, results.jsonl and the log.

  With it goes the share of training images that the feed found damaged, where there are some.
  """
  board = hooks.TensorBoard(folder.logs / "validation", every)

  def tell(step: int, measured: dict[str, metrics.Mean]) -> None:
    spread(step, protocol, measured)
    errors_ = ", ".join(f"{name} {mean.value:.2%}" for name, mean in measured.items())
    _log.info("step %d: validation %s (%s)", step, errors_, protocol)
    damaged, images = damage() if damage else (0, 0)
    if damaged:
      spread(step, "replaced in training", {"damaged_images": metrics.Mean(damaged, images)})

  def spread(step: int, protocol: str, measured: dict[str, metrics.Mean]) -> None:
    board.scalars({name: mean.value for name, mean in measured.items()}, step)
    folder.append_results(results.lines("train", folder.name, step, protocol, measured))

  return tell


def _facts(data_dir: str) -> workdirs.RunFacts:
  """Returns what the data decides of a run."""
  found = shards.read_manifest(data_dir)
  if not found.statistics:
    raise errors.UsageError(f"{data_dir} has no training split, so no mean RGB; convert one")
  return workdirs.RunFacts(
    labels=tuple(text for _, text in found.labels),
    mean_rgb=found.statistics.mean_rgb,
    data_dir=data_dir if "://" in data_dir else os.path.abspath(data_dir),
    manifest_sha256=found.sha256(),
    splits=found.splits,
    rejected=found.rejected,
  )


def _check_counts(**counts: int) -> None:
  """Raises UsageError for a number of steps that is none."""
  for name, count in counts.items():
    if count < 1:
      raise errors.UsageError(f"train.run.{name} = {count}: expected at least 1 step")
