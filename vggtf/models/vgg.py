"""The nets of the paper: A, A-LRN, B, C, D and E (section 2, table 1), and a shallow B.

Layers carry Caffe's names, those of the authors' released models: conv1_1 ... conv5_4, fc6, fc7 and
fc8; their variables are called conv1_1/weights, conv1_1/biases and so on.
"""

from collections.abc import Iterator, Sequence

from vggtf import errors
from vggtf.nn import chain, initializers

LRN = "LRN"

# Table 1. A row is a net, an entry one of its five blocks, a number the side of a convolution's
# kernel. A max-pooling follows each block, and fc6, fc7 and fc8 the last. The shallow net has one
# 5x5 in place of each pair of B, whose receptive field is the same (section 4.1).
CONFIGS = {
  "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
  "A-LRN": ((3, LRN), (3,), (3, 3), (3, 3), (3, 3)),
  "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
  "B-shallow": ((5,), (5,), (5,), (5,), (5,)),
  "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
  "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
  "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
BLOCK_CHANNELS = (64, 128, 256, 512, 512)


class VGG(chain.Chain):
  """A very deep convolutional net; a `contracts.Model`.

  Attributes:
    title: its letter in table 1, and what differs from the paper's.
  """

  def __init__(
    self,
    classes: int,
    mean_rgb: Sequence[float],
    config: str = "D",
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.5,
    norm: str | None = None,
    head: str = "classifier",
    initializer: initializers.Initializer | None = None,
    lrn_form: str = "alexnet",
    pool_rounding: str = "floor",
    compute_dtype: str = "float32",
    seed: int = 0,
    recompute: bool = False,
  ):
    """Builds the net and its variables.

    Args:
      classes: how many.
      mean_rgb: mean of the training set's pixels, in levels of 0..255 (section 2.1).
      config: a key of `CONFIGS`.
      input_size: side in pixels; the paper's is 224 (section 2.1).
      width: multiplies the channels of every hidden layer, the fully-connected ones included.
      dropout: probability, in [0, 1), that a unit of fc6 or fc7 is dropped (section 3.1).
      norm: "batch" or "group" puts that norm between each convolution and its ReLU, and leaves the
        fully-connected layers alone; the convolutions keep their biases, so that weights move
        between nets with and without norms by name. The paper has none.
      head: "classifier"; "box", one box for all classes, or "class_boxes", one for each, whose last
        layer is fc8_box in place of fc8 (appendix A.1); or "features", without a last layer, for
        fc7's activations (appendix B).
      initializer: of all weights, Glorot's if None; biases start at 0 (section 3.1).
      lrn_form: "alexnet" or "caffe"; only A-LRN has such a layer.
      pool_rounding: "floor" or "ceil" (Caffe): what a pooling does with an odd side.
      compute_dtype: "float32", "bfloat16" or "float16", see vggtf/precision.py.
      seed: of the first weights.
      recompute: whether training keeps of each block only what comes into it, and computes the
        block again in the backward pass: less memory for a third more time, the same gradients.

    Raises:
      UsageError: an option has no such value, or five poolings leave nothing of the input.
    """
    super().__init__(
      "vgg",
      _steps(errors.choose("config", config, CONFIGS)),
      classes=classes,
      mean_rgb=mean_rgb,
      input_size=input_size,
      width=width,
      dropout=dropout,
      norm=norm,
      head=head,
      initializer=initializer,
      lrn_form=lrn_form,
      pool_rounding=pool_rounding,
      compute_dtype=compute_dtype,
      seed=seed,
      recompute=recompute,
    )
    changes = (f"width {width:g}" * (width != 1.0), f"{norm} norm" * bool(norm))
    self.title = ", ".join(filter(None, (config, *changes)))


def _steps(config: tuple) -> Iterator[chain.Step]:
  """Yields the net's layers before fc6."""
  for block, (sides, channels) in enumerate(zip(config, BLOCK_CHANNELS, strict=True), 1):
    for index, side in enumerate(sides, 1):
      if side == LRN:
        yield chain.Respond()
      else:
        yield chain.Convolve(f"conv{block}_{index}", side, channels)
    yield chain.Pool()
