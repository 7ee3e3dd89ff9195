"""What the parts promise one another: the values that travel, and the protocols of the plugins.

Nothing here imports TensorFlow, so that whoever only reads results need not either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
  import tensorflow as tf

# What a job hands to a model's constructor itself, from the data's manifest: a configuration that
# binds one of these would be ignored, so it is refused (vggtf/config.py).
SUPPLIED_BY_JOB = ("classes", "mean_rgb")


class Batch(NamedTuple):
  """One global or per-replica batch.

  image: uint8 [N, H, W, 3], RGB (evaluation: whatever nest of images a predictor prepares).
  label: int32 [N], 0..classes-1 in the order of the manifest; or Located, where a net learns boxes.
  weight: float32 [N], 1 for an image, 0 for padding.
  id: string [N], the records' `image/id`.
  """

  image: Any
  label: tf.Tensor | Located
  weight: tf.Tensor
  id: tf.Tensor


class Located(NamedTuple):
  """Labels of images whose object is known to lie somewhere.

  label: int32 [N], its class. box: float32 [N, 4], centre x and y, width and height of its box in
  the frame of the crop that is seen: fractions of the crop's side, from the top left
  (vggtf/data/boxes.py).
  """

  label: tf.Tensor
  box: tf.Tensor


class Outputs(NamedTuple):
  """What a model computes.

  logits: float32 [N, classes]; None of a net with another head than a classifier.
  auxiliary: float32 [N, classes] logits of heads that only help in training (GoogLeNet's).
  features: float32 [N, D], the activations before the last layer, for losses that compare them.
  boxes: float32 [N, 4] or [N, classes, 4], of a net that ends in them; its logits are None.
  """

  logits: tf.Tensor | None
  auxiliary: tuple[tf.Tensor, ...] = ()
  features: tf.Tensor | None = None
  boxes: tf.Tensor | None = None


@dataclasses.dataclass
class Training:
  """That a model is called in training, and what that call gives back beside its outputs.

  seed: int32 [2], the key of this step's dropout masks; equal keys give equal masks.
  first_example: int32 scalar, the place of this replica's first example in the global batch.
  updates: filled by layers that keep statistics: pairs of a variable and its new value, assigned
    by the step after the mean over replicas (an assignment inside a compiled function could not
    be shared between them).
  """

  seed: tf.Tensor
  first_example: tf.Tensor | int = 0
  updates: list[tuple[tf.Variable, tf.Tensor]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Source:
  """Where a net's weights come from, for results and for protocols that follow the training.

  run: the run's name. step, sha256: of the checkpoint; the digest is that of its list of digests.
  labels: class names in label order. trained_at: the smallest and the largest S, in pixels; None
  where the run does not say. averaged: whether the weights are averages over the steps.
  """

  run: str
  step: int
  sha256: str
  labels: tuple[str, ...]
  trained_at: tuple[int, int] | None = None
  averaged: bool = False


class Model(Protocol):
  """A net, a `tf.Module`.

  Its constructor takes the keywords `classes` (int) and `mean_rgb` (3 floats, levels of 0..255)
  from the job, and whatever else its gin file binds.

  input_size: the side in pixels of the square images that it classifies.

  It may have a `title`, what tables call it, and `ends_in`, which of Outputs it computes ("logits"
  if it does not say); one that was loaded from a run has its `source`.
  """

  input_size: int
  classes: int

  def __call__(self, images: tf.Tensor, training: Training | None = None) -> Outputs:
    """Classifies uint8 or float [N, input_size, input_size, 3] RGB images in 0..255."""

  def score_map(self, images: tf.Tensor) -> tf.Tensor:
    """Returns float32 [N, h, w, classes] logits of whole images of any size >= input_size."""


class Loss(Protocol):
  """Returns float32 [N]: the loss of each example, unweighted.

  One of nets that do not classify has also
    judge(outputs, labels): metric name -> float32 [N], 1 where the net is wrong, else 0; shown in
      the place of the top-1 and top-5 errors. Names end in "_error".
  """

  def __call__(self, outputs: Outputs, labels: tf.Tensor | Located) -> tf.Tensor: ...


class WeightDecay(Protocol):
  """A penalty on the variables, applied once to a global step."""

  def value(self, variables: Iterable[tf.Variable]) -> tf.Tensor:
    """Returns the penalty."""

  def add(
    self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]
  ) -> list[tf.Tensor]:
    """Returns the gradients with the penalty's added."""


class Feed(Protocol):
  """The endless stream of training batches, a pure function of the step's number.

  Its constructor takes the keywords `data_dir`, `side` (the net's input size) and `seed` from the
  job.

  batch_size: images of a global batch.
  """

  batch_size: int

  def batches(self, first_step: int, worker: int = 0, workers: int = 1) -> tf.data.Dataset:
    """Returns a data set of `Batch`, that of step `first_step` first.

    Every global batch is cut into `workers` equal parts, in order, and part `worker` is returned. A
    run in one process gives `first_step` alone.
    """

  def raise_failure(self) -> None:
    """Raises what went wrong in reading, where TensorFlow hides it; else does nothing."""


class Optimizer(Protocol):
  """An update rule; a `tf.Module` that keeps its slots.

  One that decays weights itself says so by an attribute `decays_weights` (bool, read after
  `build`): train.run refuses it beside a `WeightDecay`. One whose update of an element looks at
  that element alone, and that XLA compiles, may say so by `elementwise` (bool, read after `build`):
  large nets are then updated in fewer passes over memory (vggtf/training/compilation.py).
  """

  def build(self, variables: Iterable[tf.Variable]) -> None:
    """Creates the slots of these variables, inside the strategy's scope."""

  def apply(self, gradients: Iterable[tf.Tensor], learning_rate: tf.Tensor) -> None:
    """Updates the built variables, in the same order."""


class Schedule(Protocol):
  """A learning rate; a `tf.Module`, so that what it remembers is in the checkpoint."""

  def __call__(self, step: tf.Tensor) -> tf.Tensor:
    """Returns the float32 rate of the update number `step` (the first is 0)."""


class Predictor(Protocol):
  """A protocol of the paper's section 3.2: decoded images in, class posteriors out.

  Its constructor takes the model first. The object that is evaluated is the one that is exported.

  name: short, also a folder name: "dense", "centre".
  scale: smallest side, in pixels, that it wants images rescaled to; the middle one of several.
  fixed_size: whether all prepared images have one shape, so that they can share any batch.

  One that looks at several scales has also
    scales: all of them, in order.
  and one that may be a part of a `predictors.mean.Mean`
    model: the net. sees: a word for what `prepare` returns, the same for those that see the same.
  One that is a mean itself has also
    members: all whose answers it computes on the way, itself the last.
    each(views): returns the posteriors of each of them, in that order.
  """

  name: str
  scale: int
  fixed_size: bool

  def prepare(self, image: tf.Tensor) -> Any:
    """Turns one decoded uint8 [H, W, 3] RGB image into the (nest of) tensors to be batched."""

  def __call__(self, views: Any) -> tf.Tensor:
    """Returns float32 [N, classes] posteriors of a batch of prepared images."""

  def describe(self) -> str:
    """Returns the whole protocol in a few words, for the results."""


class Answers(NamedTuple):
  """A predictor's answers to the N images of a split, as numpy arrays sorted by id.

  id: bytes [N]. label: int32 [N]. classes: int32 [N, 5], the most probable ones, and
  probabilities: float32 [N, 5], theirs; fewer than 5 where there are fewer classes.
  posteriors: float32 [N, classes], where they are kept.
  """

  id: Any
  label: Any
  classes: Any
  probabilities: Any
  posteriors: Any = None


class Measured(NamedTuple):
  """What an evaluator found of a predictor.

  means: metric name -> metrics.Mean; the first is the error that a run goes by. answers: None where
  the answers are no classes.
  """

  predictor: Predictor
  means: dict[str, Any]
  answers: Answers | None


class Evaluator(Protocol):
  """Measures a net on a data set.

  Its constructor takes the model and the data's folder from the job.

  protocol: how, in a few words. remark: what it adds to a predictor's own description.
  labels: the data's (class key, name) pairs. manifest, split: of the data.
  """

  protocol: str
  remark: str
  labels: tuple[tuple[str, str], ...]
  manifest: Any
  split: str

  def __call__(self, worker: int = 0, workers: int = 1) -> dict[str, Any]:
    """Returns metric name -> metrics.Mean; the first is the error that a run goes by.

    Where several processes share the images, of those alone whose number modulo `workers` is
    `worker`. A run in one process gives neither.
    """

  def measure(self, posteriors: bool = False, worker: int = 0, workers: int = 1) -> list[Measured]:
    """Returns what it found of the predictor's members and, last, of itself.

    Args:
      posteriors: whether the whole posteriors of means and of itself are kept.
      worker: as for a call.
      workers: as for a call.
    """


class Configuration(Protocol):
  """The run's gin configuration as texts, for keeping beside the checkpoints."""

  def text(self) -> str:
    """Returns every binding."""

  def operative_text(self) -> str:
    """Returns what was called so far, defaults included."""

  def origins(self) -> dict[str, str]:
    """Returns where each binding was found, by its name: file:line, or a flag."""


class Progress(NamedTuple):
  """What the host loop tells a hook, about the steps since it last called that hook.

  step: steps done since the run began, all sittings counted.
  scalars: means over those steps, by name ("loss", "top1_error", "learning_rate", ...).
  images: images seen in them; seconds: how long they took, hooks not counted; waited: how many of
    these seconds went by until images came.
  """

  step: int
  scalars: dict[str, float]
  images: int
  seconds: float
  waited: float = 0.0

  @property
  def data_wait(self) -> float:
    """The share of time, 0 to 1, in which there was nothing to do until images came."""
    return self.waited / self.seconds


class Hook(Protocol):
  """Called whenever `every` divides the step, and at the end; an exception ends the run."""

  every: int

  def __call__(self, progress: Progress) -> None: ...


Observe = Callable[[float], None]  # how a plateau schedule is told the validation error
