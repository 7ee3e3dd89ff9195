"""GoogLeNet (Szegedy et al., 2015, "Going deeper with convolutions"): Inception modules.

Layers carry the names of Caffe's reference net: conv1/7x7_s2, inception_3a/3x3_reduce,
loss3/classifier and so on; loss1 and loss2 are the auxiliary heads.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from vggtf import contracts, errors
from vggtf.nn import heads, initializers, layers, net, norms


class Module(NamedTuple):
  """Channels of an Inception module (table 1): of kernels 1x1, 3x3, 5x5 and what is before them."""

  ones: int
  reduced_3: int
  threes: int
  reduced_5: int
  fives: int
  projected: int


POOL = "pool"  # 3x3 windows: 1 apart inside a module, 2 apart between stages
MODULES = {
  "inception_3a": Module(64, 96, 128, 16, 32, 32),
  "inception_3b": Module(128, 128, 192, 32, 96, 64),
  "pool3": POOL,
  "inception_4a": Module(192, 96, 208, 16, 48, 64),
  "inception_4b": Module(160, 112, 224, 24, 64, 64),
  "inception_4c": Module(128, 128, 256, 24, 64, 64),
  "inception_4d": Module(112, 144, 288, 32, 64, 64),
  "inception_4e": Module(256, 160, 320, 32, 128, 128),
  "pool4": POOL,
  "inception_5a": Module(256, 160, 320, 32, 128, 128),
  "inception_5b": Module(384, 192, 384, 48, 128, 128),
}
AUXILIARY = {"inception_4a": "loss1", "inception_4d": "loss2"}  # what each hangs on (section 5)
AUXILIARY_DROPOUT = 0.7
AUXILIARY_WINDOW, AUXILIARY_STRIDE = 5, 3  # of the average pooling that it begins with


def _reduced(module: Module) -> tuple:
  """Returns the branches of figure 2(b): POOL, or a layer's (name, kernel's side, channels)."""
  return (
    (("1x1", 1, module.ones),),
    (("3x3_reduce", 1, module.reduced_3), ("3x3", 3, module.threes)),
    (("5x5_reduce", 1, module.reduced_5), ("5x5", 5, module.fives)),
    (POOL, ("pool_proj", 1, module.projected)),
  )


def _naive(module: Module) -> tuple:
  """Returns the branches of figure 2(a), whose pooled maps keep all channels of the input."""
  return (
    (("1x1", 1, module.ones),),
    (("3x3", 3, module.threes),),
    (("5x5", 5, module.fives),),
    (POOL,),
  )


INCEPTIONS = {"reduced": _reduced, "naive": _naive}


class GoogLeNet(net.Net):
  """Szegedy's net of 22 layers; a `contracts.Model`."""

  def __init__(
    self,
    classes: int,
    mean_rgb: Sequence[float],
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.4,
    inception: str = "reduced",
    auxiliary: bool = True,
    initializer: initializers.Initializer | None = None,
    bias: float = 0.2,
    lrn_form: str = "caffe",
    pool_rounding: str = "ceil",
    compute_dtype: str = "float32",
    seed: int = 0,
  ):
    """Builds the net and its variables.

    Args:
      classes: how many.
      mean_rgb: mean of the training set's pixels, in levels of 0..255.
      input_size: side in pixels; the paper's is 224.
      width: multiplies the channels of every hidden layer.
      dropout: probability, in [0, 1), that one of the averaged features is dropped.
      inception: "reduced", the module with dimension reduction, or "naive", without (figure 2).
      auxiliary: whether there are the two heads that help in training; a loss weighs them
        (losses/auxiliary.py).
      initializer: of all weights, Glorot's if None. The paper does not say.
      bias: what the biases of hidden layers are at first; not in the paper, Caffe's net has 0.2.
      lrn_form: "caffe" or "alexnet"; the paper does not say.
      pool_rounding: "ceil" (Caffe), which the paper's maps of 56, 28, 14 and 7 take, or "floor".
      compute_dtype: "float32", "bfloat16" or "float16", see vggtf/precision.py.
      seed: of the first weights.

    Raises:
      UsageError: an option has no such value, or the poolings leave too little of the input.
    """
    super().__init__("googlenet", classes, mean_rgb, input_size, width, dropout, compute_dtype)
    branches = errors.choose("inception", inception, INCEPTIONS)
    self._branches = {name: branches(module) for name, module in MODULES.items() if module != POOL}
    self._auxiliary = AUXILIARY if auxiliary else {}
    self._lrn = norms.LocalResponse(lrn_form)
    self._pool_rounding = pool_rounding
    self._initializer = initializer or initializers.Glorot()
    self._bias, self._seed = bias, seed

    self._pooled_side = self._native_side(self._side_after, "the last pooling")
    channels = self._add("conv1/7x7_s2", 7, 3, 64, padding=3, stride=2)
    channels = self._add("conv2/3x3_reduce", 1, channels, 64)
    channels = self._add("conv2/3x3", 3, channels, 192)
    for name, module in MODULES.items():
      if module == POOL:
        continue
      channels = sum(self._add_branch(name, branch, channels) for branch in self._branches[name])
      if name in self._auxiliary:
        self._add_auxiliary(self._auxiliary[name], channels)
    self._add_full("loss3/classifier", 1, channels, classes, 0.0)

  def _features(
    self, maps: tf.Tensor, training: contracts.Training | None
  ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
    maps = self._pool(self._apply("conv1/7x7_s2", maps))
    maps = self._apply("conv2/3x3_reduce", self._lrn(maps))
    maps = self._pool(self._lrn(self._apply("conv2/3x3", maps)))
    auxiliary = []
    for name, module in MODULES.items():
      if module == POOL:
        maps = self._pool(maps)
        continue
      maps = tf.concat([self._run(name, branch, maps) for branch in self._branches[name]], axis=-1)
      if training is not None and name in self._auxiliary:
        auxiliary.append(self._classify_early(self._auxiliary[name], maps, training))
    maps = tf.nn.avg_pool2d(tf.cast(maps, tf.float32), self._pooled_side, 1, "VALID")
    if training is not None:
      maps = layers.dropout(maps, self._dropout, "loss3", training)
    return maps, tuple(auxiliary)

  def _last(self, features: tf.Tensor) -> tuple[str, tf.Tensor]:
    return "logits", self.layers["loss3/classifier"](features)

  def _run(self, module: str, branch: tuple, maps: tf.Tensor) -> tf.Tensor:
    for step in branch:
      if step == POOL:
        maps = tf.nn.max_pool2d(maps, 3, 1, "SAME")
      else:
        maps = self._apply(f"{module}/{step[0]}", maps)
    return maps

  def _classify_early(self, head: str, maps: tf.Tensor, training: contracts.Training) -> tf.Tensor:
    """Returns the logits of an auxiliary head, float32 [N, classes]."""
    maps = tf.nn.avg_pool2d(maps, AUXILIARY_WINDOW, AUXILIARY_STRIDE, "VALID")
    maps = self._apply(f"{head}/fc", self._apply(f"{head}/conv", maps))
    maps = layers.dropout(maps, AUXILIARY_DROPOUT, head, training)
    logits = self.layers[f"{head}/classifier"](tf.cast(maps, tf.float32))
    return tf.reshape(logits, (-1, self.classes))

  def _apply(self, name: str, maps: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(self.layers[name](maps))

  def _pool(self, maps: tf.Tensor) -> tf.Tensor:
    return layers.max_pool(maps, self._pool_rounding, 3, 2)

  def _side_after(self, side: int, pools: int = 4) -> int:
    side = layers.convolved_side(side, 7, 2, 3)
    for _ in range(pools):
      side = layers.pooled_side(side, self._pool_rounding, 3, 2)
    return side

  def _add(self, name: str, side: int, inputs: int, channels: int, **options) -> int:
    """Adds a convolution and returns its channels."""
    outputs = self._widen(channels)
    self.layers[name] = layers.Convolution(
      name, side, inputs, outputs, self._initializer, self._seed, bias=self._bias, **options
    )
    return outputs

  def _add_full(self, name: str, side: int, inputs: int, outputs: int, bias: float) -> None:
    self.layers[name] = heads.FullyConnected(
      name, side, inputs, outputs, self._initializer, self._seed, bias
    )

  def _add_branch(self, module: str, branch: tuple, channels: int) -> int:
    """Adds the convolutions of a branch and returns the channels that leave it."""
    for step in branch:
      if step != POOL:
        channels = self._add(f"{module}/{step[0]}", step[1], channels, step[2])
    return channels

  def _add_auxiliary(self, head: str, channels: int) -> None:
    def side_after(size: int) -> int:
      size = self._side_after(size, pools=3)
      return layers.pooled_side(size, "floor", AUXILIARY_WINDOW, AUXILIARY_STRIDE)

    side = self._native_side(side_after, f"{head}, which auxiliary=False leaves out")
    channels = self._add(f"{head}/conv", 1, channels, 128)
    hidden = self._widen(1024)
    self._add_full(f"{head}/fc", side, channels, hidden, self._bias)
    self._add_full(f"{head}/classifier", 1, hidden, self.classes, 0.0)
