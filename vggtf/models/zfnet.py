"""The net of Zeiler and Fergus (2013, figure 3): Krizhevsky's with a finer first layer, ungrouped.

Layers carry the names of Caffe's nets of this kind: conv1 ... conv5, fc6, fc7 and fc8.
"""

from collections.abc import Sequence

from vggtf.nn import chain, initializers

# Figure 3 of its paper; after the ReLU comes the pooling, and the normalisation after that. The
# paddings are those that give the figure's maps: 110, 55, 26, 13, 6.
STEPS = (
  chain.Convolve("conv1", 7, 96, stride=2, padding=1),
  chain.Pool(3, 2),
  chain.Respond(),
  chain.Convolve("conv2", 5, 256, stride=2, padding="VALID"),
  chain.Pool(3, 2),
  chain.Respond(),
  chain.Convolve("conv3", 3, 384),
  chain.Convolve("conv4", 3, 384),
  chain.Convolve("conv5", 3, 256),
  chain.Pool(3, 2),
)


class ZFNet(chain.Chain):
  """Zeiler and Fergus's net; a `contracts.Model`."""

  def __init__(
    self,
    classes: int,
    mean_rgb: Sequence[float],
    input_size: int = 224,
    width: float = 1.0,
    dropout: float = 0.5,
    initializer: initializers.Initializer | None = None,
    lrn_form: str = "alexnet",
    pool_rounding: str = "ceil",
    compute_dtype: str = "float32",
    seed: int = 0,
  ):
    """Builds the net and its variables.

    Args:
      classes: how many.
      mean_rgb: mean of the training set's pixels, in levels of 0..255. (The paper subtracts a mean
        image.)
      input_size: side in pixels; the paper's is 224.
      width: multiplies the channels of every hidden layer.
      dropout: probability, in [0, 1), that a unit of fc6 or fc7 is dropped.
      initializer: of all weights, Glorot's if None; the paper's is Gaussian(0.01).
      lrn_form: "alexnet" or "caffe": the form of the "contrast normalisation across feature maps",
        of which the paper says no more.
      pool_rounding: "ceil", which the maps of 55x55 and 13x13 take, or "floor".
      compute_dtype: "float32", "bfloat16" or "float16", see vggtf/precision.py.
      seed: of the first weights.

    Raises:
      UsageError: an option has no such value, or the poolings leave nothing of the input.
    """
    super().__init__(
      "zfnet",
      STEPS,
      classes=classes,
      mean_rgb=mean_rgb,
      input_size=input_size,
      width=width,
      dropout=dropout,
      initializer=initializer,
      lrn_form=lrn_form,
      pool_rounding=pool_rounding,
      compute_dtype=compute_dtype,
      seed=seed,
    )
