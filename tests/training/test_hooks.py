import logging
import math
import resource

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from vggtf import contracts, errors, metrics
from vggtf.training import hooks


def progress(step=10, images=320, seconds=2.0, waited=0.0, **scalars):
  scalars = {
    "loss": 1.5,
    "top1_error": 0.25,
    "learning_rate": 0.01,
    "weight_decay": 0.125,
    **scalars,
  }
  return contracts.Progress(step, scalars, images, seconds, waited)


def test_a_net_that_stays_at_chance_is_warned_of_once(caplog):
  hook = hooks.WarnStuck(classes=1000, after=50)
  assert hook.every == 50
  for loss in (6.0, 7.5, 0.1, math.log(999)):
    hook(progress(loss=loss * 0.9))
  assert caplog.text == ""
  for step in (50, 100, 150):
    hook(progress(step=step, loss=math.log(1000) * 1.005))
  assert caplog.text.count("still ln(classes) = 6.908 after 50 steps") == 1
  assert len(caplog.records) == 1
  assert caplog.records[0].levelno == logging.WARNING


def test_console_prints_lines_with_rate_and_time_left(caplog):
  with caplog.at_level("INFO", "vggtf"):
    console = hooks.Console(every=10, done=100, until=1000)
    console(progress(step=110, images=320, seconds=20.0, waited=2.4))  # 2 s a step, 890 left
    console(progress(step=120, images=320, seconds=5.0))
    console(progress(step=1000, images=320, seconds=5.0))
  assert [one.message for one in caplog.records] == [
    "step 110 of 1000: loss 1.5000, top-1 error 25.0%, rate 0.01, 16 img/s, data wait 12%, "
    "ETA 0:29:40",
    "step 120 of 1000: loss 1.5000, top-1 error 25.0%, rate 0.01, 64 img/s, data wait 0%, "
    "ETA 0:07:20",
    "step 1000 of 1000: loss 1.5000, top-1 error 25.0%, rate 0.01, 64 img/s, data wait 0%, "
    "ETA 0:00:00",
  ]


def test_console_counts_days(caplog):
  with caplog.at_level("INFO", "vggtf"):
    hooks.Console(every=50, done=0, until=370_000)(
      progress(step=50, images=12_800, seconds=50 * 2.5)
    )
  assert caplog.text.rstrip().endswith("ETA 10 days, 16:54:35")


def test_console_on_a_terminal_is_a_bar_that_stops_at_the_end(capsys, monkeypatch):
  monkeypatch.setattr("sys.stderr.isatty", lambda: True)
  console = hooks.Console(every=10, done=0, until=370_000)
  console(progress(step=10))
  console(progress(step=370_000, waited=0.5))
  shown = capsys.readouterr().err
  words = " ".join(shown.split())  # in 80 columns
  assert "step 370000/370000" in words
  assert "loss 1.5000, error 25.0%, 160 img/s, wait 25%" in words
  assert "0:00:00" in words


def events(folder):
  accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})
  return accumulator.Reload()


def values(accumulator, tag):
  return [
    (event.step, tensor_util.make_ndarray(event.tensor_proto).item())
    for event in accumulator.Tensors(tag)
  ]


def test_tensorboard_reads_what_was_written(tmp_path):
  board = hooks.TensorBoard(tmp_path, every=10)
  board.text("config", "a = 1\nb = '<b>'", step=0)
  board(progress(step=10, loss=1.5))
  board(progress(step=20, loss=0.75, images=640, seconds=1.0, waited=0.25))
  board.scalars({"top1_error": 0.5}, step=30)
  found = events(tmp_path)
  assert values(found, "loss") == [(10, 1.5), (20, 0.75)]
  assert values(found, "top1_error") == [(10, 0.25), (20, 0.25), (30, 0.5)]
  assert values(found, "images_per_second") == [(10, 160.0), (20, 640.0)]
  assert values(found, "data_wait") == [(10, 0.0), (20, 0.25)]
  assert values(found, "weight_decay") == [(10, 0.125), (20, 0.125)]
  assert values(found, "config") == [(0, b"    a = 1\n    b = '<b>'")]  # indented: code, not HTML
  assert found.SummaryMetadata("config").plugin_data.plugin_name == "text"
  assert found.SummaryMetadata("loss").plugin_data.plugin_name == "scalars"


def test_a_full_disk_costs_the_curves_and_not_the_run(tmp_path, caplog):
  """T7."""
  board = hooks.TensorBoard(tmp_path, every=10)
  board(progress(step=10))
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, limits[1]))  # Python ignores the signal
  try:
    for step in range(20, 200, 10):
      board(progress(step=step))
      board.text("config", "a = 1\n" * 100, step)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  (message,) = caplog.messages
  assert message.startswith(f"curves cannot be written to {tmp_path} (")
  assert message.endswith("File too large): the run goes on without them")
  assert values(events(tmp_path), "loss")[0] == (10, 1.5)


def test_a_folder_that_cannot_be_made_costs_the_curves_and_not_the_run(tmp_path, caplog):
  """T7."""
  (tmp_path / "logs").touch()
  board = hooks.TensorBoard(tmp_path / "logs" / "train", every=10)
  for step in (10, 20):
    board(progress(step=step))
  (message,) = caplog.messages
  assert message.startswith(f"curves cannot be written to {tmp_path / 'logs' / 'train'} (")


def test_evaluation_is_told_to_the_schedule_and_to_the_log():
  told, observed = [], []
  measured = {"top1_error": metrics.Mean(1.0, 4.0), "top5_error": metrics.Mean(0.0, 4.0)}
  hook = hooks.Evaluate(
    5, lambda: measured, lambda step, means: told.append((step, means)), observed.append
  )
  assert hook.error is None
  hook(progress(step=5))
  assert told == [(5, measured)]
  assert observed == [0.25]
  assert hook.error == (5, 0.25)


MEASURED = {"top1_error": metrics.Mean(1.0, 4.0)}


def test_a_failing_evaluation_does_not_end_the_training(caplog):
  """T12: the run ends with the first failure's code and a list of what was not measured."""
  results = iter(
    [
      MEASURED,
      errors.IntegrityError("a shard is damaged"),
      tf.errors.ResourceExhaustedError(None, None, "OOM"),
      MEASURED,
    ]
  )
  told = []

  def evaluate():
    result = next(results)
    if isinstance(result, Exception):
      raise result
    return result

  hook = hooks.Evaluate(5, evaluate, lambda step, _: told.append(step), None)
  for step in (5, 10, 15, 20):
    hook(progress(step=step))
  assert told == [5, 20]
  assert hook.error == (20, 0.25)
  assert "no measurement of step 10, training goes on: a shard is damaged" in caplog.text
  with pytest.raises(errors.IntegrityError, match=r"of the steps 10, 15: a shard is damaged"):
    hook.raise_failures()


def test_evaluations_that_succeed_leave_nothing_to_say():
  hook = hooks.Evaluate(5, lambda: MEASURED, lambda *_: None, None)
  hook(progress(step=5))
  hook.raise_failures()


@pytest.mark.parametrize(
  ("observe", "failure"),
  [
    (lambda error: None, errors.EnvironmentFault("no room")),  # the schedule waits for a number
    (None, errors.DivergedError("posteriors")),
    (None, ZeroDivisionError()),
  ],
)
def test_failures_that_training_cannot_outlive_end_it(observe, failure):
  def evaluate():
    raise failure

  hook = hooks.Evaluate(5, evaluate, lambda *_: None, observe)
  with pytest.raises(type(failure)):
    hook(progress(step=5))


def test_results_that_cannot_be_kept_are_observed_all_the_same():
  def tell(*_):
    raise errors.EnvironmentFault("no room")

  observed = []
  hook = hooks.Evaluate(5, lambda: MEASURED, tell, observed.append)
  hook(progress(step=5))
  assert observed == [0.25]
  with pytest.raises(errors.EnvironmentFault, match="of the steps 5: no room"):
    hook.raise_failures()


def test_schedule_that_observes_nothing_is_not_told():
  hook = hooks.Evaluate(5, lambda: {"top1_error": metrics.Mean(1.0, 2.0)}, lambda *_: None, None)
  hook(progress(step=5))
  assert hook.error == (5, 0.5)


def test_a_schedule_hears_of_a_measurement_once():
  heard, told = [], []
  measure = hooks.Evaluate(
    2,
    lambda: {"top1_error": metrics.Mean(1.0, 4.0)},
    lambda step, _: told.append(step),
    heard.append,
    heard=4,
  )
  for step in (4, 6):
    measure(contracts.Progress(step, {}, 0, 0.0))
  assert (told, heard, measure.error) == ([4, 6], [0.25], (6, 0.25))
