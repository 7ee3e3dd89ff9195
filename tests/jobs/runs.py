"""Runs of the jobs on painted pictures, without gin."""

import functools
import pathlib

import numpy as np
import tensorflow as tf

from vggtf.data import pipeline, train_view
from vggtf.evaluators import classification
from vggtf.jobs import train
from vggtf.losses import softmax, weight_decay
from vggtf.models import vgg
from vggtf.nn import initializers
from vggtf.optimizers import schedules, sgd
from vggtf.predictors import centre
from vggtf.training import step, strategy

STEPS = 6
MODEL = functools.partial(
  vgg.VGG, config="A", input_size=32, width=1 / 16, norm="batch", initializer=initializers.He()
)
CENTRE = functools.partial(centre.Centre, scale=32)
FEED = functools.partial(
  pipeline.TrainingFeed,
  view=functools.partial(train_view.TrainView, scale_min=32, scale_max=40),
  batch_size=8,
)
VALIDATOR = functools.partial(classification.Classification, predictor=CENTRE)


class Configuration:
  """Stands for gin's."""

  def __init__(self, text="a = 1\nb = 2\n"):
    self._text = text

  def text(self):
    return self._text

  def operative_text(self):
    return self._text + "c = 3\n"

  def origins(self):
    return {"a": "here:1"}


def run(workdir, data_dir, text="a = 1\nb = 2\n", rate=1e-3, **changes) -> None:
  """Trains 6 steps of 8 images: measures at 2, 4 and 6, saves at 3 and 6.

  No error can be 2 better than another: each measurement but the first divides the rate by 10.
  """
  arguments = {
    "configuration": Configuration(text),
    "model": MODEL,
    "loss": softmax.Softmax,
    "weight_decay": weight_decay.L2,
    "optimizer": sgd.SGD,
    "schedule": functools.partial(schedules.Plateau, initial=rate, patience=1, threshold=2.0),
    "feed": FEED,
    "evaluator": VALIDATOR,
    "strategy": strategy.one_device,
    "step": step.TrainStep,
    "steps": STEPS,
    "evaluate_every": 2,
    "checkpoint_every": 3,
    "log_every": 2,
    "steps_per_call": 4,
    "seed": 1,
    **changes,
  }
  train.run(str(workdir), str(data_dir), **arguments)


def saved(workdir, step: int) -> dict[str, bytes]:
  """Returns the bits of everything in a checkpoint, by name."""
  prefix = str(pathlib.Path(workdir) / "checkpoints" / f"step-{step:08d}" / "state")
  reader = tf.train.load_checkpoint(prefix)
  return {
    name: np.asarray(reader.get_tensor(name)).tobytes()
    for name in reader.get_variable_to_shape_map()
    if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
  }


def steps(workdir) -> list[int]:
  """Returns the steps of the checkpoints."""
  folder = pathlib.Path(workdir) / "checkpoints"
  return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))
